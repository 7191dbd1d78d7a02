"""Streaming ingestion: the rows are there when the client comes back."""

import base64
import gzip
import io
import os
import tempfile
import unittest

from azure.kusto.data import DataFormat
from azure.kusto.data.exceptions import KustoApiError
from azure.kusto.ingest import (
    BlobDescriptor,
    IngestionProperties,
    IngestionStatus,
    KustoStreamingIngestClient,
    ManagedStreamingIngestClient,
    StreamDescriptor,
)

from cluster import DATABASE, Cluster, credentials, until


class Streaming(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.client = KustoStreamingIngestClient(credentials())

    def send(self, table, data, data_format, mapping=None):
        properties = IngestionProperties(DATABASE, table, data_format, ingestion_mapping_reference=mapping)
        return self.client.ingest_from_stream(io.BytesIO(data), properties)

    def refused(self, table, data, data_format, mapping=None):
        with self.assertRaises(KustoApiError) as raised:
            self.send(table, data, data_format, mapping)
        return raised.exception.get_api_error()

    def found(self, table):
        return self.cluster.rows(f"{table} | project Name, N | order by N asc")

    def test_every_format_lands_at_once(self):
        table = self.cluster.new_table(streams=True)
        result = self.send(table, b'{"name":"a","n":1}\n{"name":"b","n":2}\n', DataFormat.JSON, "ByName")
        self.assertEqual((result.status, result.table), (IngestionStatus.SUCCESS, table))
        self.send(table, b'[{"name":"c",\n"n":3}]', DataFormat.MULTIJSON, "ByName")
        self.send(table, b"d,4\r\n", DataFormat.CSV)
        self.send(table, "5,\u00e9 \U0001f600\n".encode(), DataFormat.CSV, "ByPlace")
        self.assertEqual(self.found(table), [["a", 1], ["b", 2], ["c", 3], ["d", 4], ["\u00e9 \U0001f600", 5]])
        self.assertEqual(self.cluster.rows(f"{table} | where N == 3 | project tostring(Bag.name)"), [["c"]])

    def test_a_file_and_a_packed_stream_land(self):
        table = self.cluster.new_table(streams=True)
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "rows.csv")
            with open(path, "wb") as file:
                file.write(b"a,1\n")
            self.client.ingest_from_file(path, IngestionProperties(DATABASE, table, DataFormat.CSV))
        packed = StreamDescriptor(io.BytesIO(gzip.compress(b"b,2\n")), is_compressed=True)
        self.client.ingest_from_stream(packed, IngestionProperties(DATABASE, table, DataFormat.CSV))
        self.assertEqual(self.found(table), [["a", 1], ["b", 2]])

    def test_a_blob_lands_by_its_address(self):
        table = self.cluster.new_table(streams=True)
        properties = IngestionProperties(DATABASE, table, DataFormat.CSV)
        for name, content in [("stream it.csv", b"a,1\n"), ("stream.csv.gz", gzip.compress(b"b,2\n"))]:
            self.client.ingest_from_blob(BlobDescriptor(self.cluster.upload(name, content)), properties)
        self.assertEqual(self.found(table), [["a", 1], ["b", 2]])
        unsigned = self.cluster.upload("unsigned.csv", b"c,3\n").split("?")[0]
        with self.assertRaises(KustoApiError) as raised:
            self.client.ingest_from_blob(BlobDescriptor(unsigned), properties)
        self.assertTrue(raised.exception.get_api_error().permanent)

    def test_what_is_sent_twice_lands_twice(self):
        table = self.cluster.new_table(streams=True)
        for _ in range(2):
            self.send(table, b"a,1\n", DataFormat.CSV)
        self.assertEqual(self.found(table), [["a", 1]] * 2)

    def test_a_table_takes_streams_only_under_a_policy(self):
        table = self.cluster.new_table()
        error = self.refused(table, b"a,1\n", DataFormat.CSV)
        self.assertEqual((error.code, error.permanent), ("BadRequest_StreamingIngestionPolicyNotEnabled", True))
        self.cluster.rows(f".alter table {table} policy streamingingestion '{{\"IsEnabled\": true}}'")
        self.send(table, b"a,1\n", DataFormat.CSV)
        self.cluster.rows(f".alter table {table} policy streamingingestion disable")
        self.refused(table, b"b,2\n", DataFormat.CSV)
        self.assertEqual(self.found(table), [["a", 1]])

    def test_what_cannot_be_read_lands_not_at_all(self):
        table = self.cluster.new_table(streams=True)
        for data, data_format, mapping in [
            (b'{"name":"a","n":1}\n{"name":', DataFormat.MULTIJSON, "ByName"),
            (b'a,1\n"b,2\n', DataFormat.CSV, None),
            (b"no json\n", DataFormat.JSON, "ByName"),
            (b'{"name":"a"}', DataFormat.JSON, "NoSuchMapping"),
            (b'{"name":"a"}', DataFormat.JSON, "ByPlace"),
            (b'{"name":"a"}', DataFormat.JSON, None),
            (b"PAR1", DataFormat.PARQUET, None),
        ]:
            with self.subTest(data=data, mapping=mapping):
                self.assertTrue(self.refused(table, data, data_format, mapping).permanent)
        self.assertTrue(self.refused("NoSuchTable", b"a,1\n", DataFormat.CSV).permanent)
        self.assertEqual(self.found(table), [])

    def test_lines_of_json_that_are_none_are_passed_over(self):
        table = self.cluster.new_table(streams=True)
        self.send(table, b'{"name":"a","n":1}\nno json\n{"name":"b","n":"x"}\n', DataFormat.JSON, "ByName")
        self.assertEqual(self.found(table), [["b", None], ["a", 1]])

    def test_a_payload_has_at_most_ten_megabytes(self):
        table = self.cluster.new_table(streams=True)
        with self.assertRaises(KustoApiError) as raised:
            self.send(table, base64.b64encode(os.urandom(11_000_000)), DataFormat.CSV)
        self.assertEqual(raised.exception.http_response.status_code, 413)
        self.assertEqual(self.found(table), [])


class ManagedStreaming(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.client = ManagedStreamingIngestClient(credentials(), credentials())
        self.client._set_retry_settings(max_seconds_per_retry=0.01)

    def send(self, table, data):
        return self.client.ingest_from_stream(io.BytesIO(data), IngestionProperties(DATABASE, table, DataFormat.CSV))

    def test_little_is_streamed_and_much_is_queued(self):
        table = self.cluster.new_table(streams=True)
        self.assertEqual(self.send(table, b"a,1\n").status, IngestionStatus.SUCCESS)
        much = b"".join(base64.b64encode(os.urandom(600)) + b",2\n" for _ in range(8_000))
        self.assertEqual(self.send(table, much).status, IngestionStatus.QUEUED)
        until(lambda: self.cluster.rows(f"{table} | count") == [[8_001]])

    def test_a_blob_is_streamed_if_it_is_little(self):
        table = self.cluster.new_table(streams=True)
        blob = BlobDescriptor(self.cluster.upload("managed.csv", b"a,1\n"))
        result = self.client.ingest_from_blob(blob, IngestionProperties(DATABASE, table, DataFormat.CSV))
        self.assertEqual((blob.size, result.status), (4, IngestionStatus.SUCCESS))
        self.assertEqual(self.cluster.rows(f"{table} | count"), [[1]])

    def test_a_refusal_for_good_is_not_queued(self):
        table = self.cluster.new_table()
        with self.assertRaises(KustoApiError):
            self.send(table, b"a,1\n")


if __name__ == "__main__":
    unittest.main()
