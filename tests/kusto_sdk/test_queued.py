"""Queued ingestion: files, streams and blobs land later, and how that ended is told by queue, by table and by command."""

import gzip
import io
import json
import os
import tempfile
import unittest
import uuid
from datetime import datetime, timezone

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableClient
from azure.kusto.data import DataFormat
from azure.kusto.ingest import (
    BlobDescriptor,
    ColumnMapping,
    IngestionProperties,
    KustoStreamingIngestClient,
    QueuedIngestClient,
    ReportLevel,
    StreamDescriptor,
)
from azure.kusto.ingest.ingestion_blob_info import IngestionBlobInfo
from azure.kusto.ingest.status import KustoIngestStatusQueues
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from cluster import DATABASE, Cluster, credentials, until

BOTH = ReportLevel.FailuresAndSuccesses


class Queued(unittest.TestCase):
    # The queues are shared by all clients of a cluster: what one reads, no other sees.
    heard = {}

    def setUp(self):
        self.cluster = Cluster()
        self.client = QueuedIngestClient(credentials())
        self.queues = KustoIngestStatusQueues(self.client)

    def send(self, table, data, data_format, report_level=BOTH, **properties):
        properties = IngestionProperties(DATABASE, table, data_format, report_level=report_level, **properties)
        return self.client.ingest_from_stream(io.BytesIO(data), properties)

    def ended(self, result):
        """What the status queues tell of an ingestion."""

        def look():
            for queue in (self.queues.success, self.queues.failure):
                for message in queue.pop(16):
                    self.heard.setdefault(message.IngestionSourceId, []).append(message)
            return self.heard.get(str(result.source_id))

        (message,) = until(look)
        return message

    def found(self, table):
        return self.cluster.rows(f"{table} | project Name, N | order by N asc")

    def test_a_stream_of_every_format_lands(self):
        table = self.cluster.new_table()
        for data, data_format, mapping in [
            (b'{"name":"a","n":1}\nno json\n', DataFormat.JSON, "ByName"),
            (b'[{"name":"b",\n"n":2},{"name":"c","n":3}]', DataFormat.MULTIJSON, "ByName"),
            (b"d,4\n", DataFormat.CSV, None),
            (b"5,e\n", DataFormat.CSV, "ByPlace"),
        ]:
            result = self.send(table, data, data_format, ingestion_mapping_reference=mapping)
            self.assertTrue(self.ended(result).SucceededOn)
        self.assertEqual(self.found(table), [["a", 1], ["b", 2], ["c", 3], ["d", 4], ["e", 5]])

    def test_files_land_packed_or_not(self):
        table = self.cluster.new_table()
        properties = IngestionProperties(DATABASE, table, DataFormat.CSV, report_level=BOTH, ignore_first_record=True)
        with tempfile.TemporaryDirectory() as directory:
            for name, content in [("rows of a.csv", b"Name,N\na,1\n"), ("b.csv.gz", gzip.compress(b"Name,N\nb,2\n"))]:
                path = os.path.join(directory, name)
                with open(path, "wb") as file:
                    file.write(content)
                self.ended(self.client.ingest_from_file(path, properties))
        self.assertEqual(self.found(table), [["a", 1], ["b", 2]])

    def test_a_large_stream_is_uploaded_in_blocks(self):
        table = self.cluster.new_table()
        rows = 70_000
        data = gzip.compress(b"".join(b"%s,%d\n" % (b"x" * 1_000, n) for n in range(rows)), 0)
        # Up to here the storage client sends one piece.
        self.assertGreater(len(data), 64 * 1024 * 1024)
        stream = StreamDescriptor(io.BytesIO(data), is_compressed=True)
        properties = IngestionProperties(DATABASE, table, DataFormat.CSV, report_level=BOTH)
        self.assertTrue(self.ended(self.client.ingest_from_stream(stream, properties)).SucceededOn)
        self.assertEqual(self.cluster.rows(f"{table} | summarize count(), sum(N)"), [[rows, rows * (rows - 1) // 2]])

    def test_a_blob_of_ones_own_lands_and_stays(self):
        table = self.cluster.new_table()
        address = self.cluster.upload("own.multijson.gz", gzip.compress(b'{"name":"a"} {"name":"b"}'))
        properties = IngestionProperties(
            DATABASE, table, DataFormat.MULTIJSON, ingestion_mapping_reference="ByName", report_level=BOTH
        )
        for _ in range(2):
            message = self.ended(self.client.ingest_from_blob(BlobDescriptor(address, size=25), properties))
            self.assertEqual(message.IngestionSourcePath, address.split("?")[0])
        self.assertEqual(self.cluster.rows(f"{table} | count"), [[4]])

    def test_a_mapping_may_come_with_the_data(self):
        table = self.cluster.new_table(mapped=False)
        mapping = [
            ColumnMapping("Name", "string", const_value="w-1"),
            ColumnMapping("N", "long", path="$.deep[1]"),
            ColumnMapping("Bag", "dynamic", path="$"),
        ]
        self.ended(self.send(table, b'{"deep":[1,7]}', DataFormat.MULTIJSON, column_mappings=mapping))
        self.assertEqual(self.cluster.rows(f"{table} | project Name, N, Bag"), [["w-1", 7, {"deep": [1, 7]}]])
        by_place = [ColumnMapping("N", "long", ordinal=1), ColumnMapping("Name", "string", ordinal=0)]
        self.ended(self.send(table, b"x,8\n", DataFormat.CSV, column_mappings=by_place))
        self.assertEqual(self.found(table), [["w-1", 7], ["x", 8]])

    def test_a_tag_keeps_a_repetition_out(self):
        table = self.cluster.new_table()
        once = {"ingest_by_tags": ["k"], "ingest_if_not_exists": ["k"], "drop_by_tags": ["d"], "additional_tags": ["x"]}
        self.assertTrue(self.ended(self.send(table, b"a,1\n", DataFormat.CSV, **once)).SucceededOn)
        skipped = self.ended(self.send(table, b"a,1\n", DataFormat.CSV, **once))
        self.assertEqual((skipped.ErrorCode, skipped.ShouldRetry), ("Skipped_IngestByTagAlreadyExists", False))
        self.assertEqual(self.found(table), [["a", 1]])
        (extent,) = self.cluster.table(f".show table {table} extents where tags has 'ingest-by:k'")
        self.assertEqual(sorted(extent["Tags"].split()), ["drop-by:d", "ingest-by:k", "x"])

    def test_a_creation_time_may_be_asked_for(self):
        table = self.cluster.new_table()
        asked = {"additional_properties": {"creationTime": "2025-03-04T05:06:07Z"}}
        self.ended(self.send(table, b"a,1\n", DataFormat.CSV, **asked))
        (extent,) = self.cluster.table(f".show table {table} extents")
        self.assertEqual(extent["MaxCreatedOn"], datetime(2025, 3, 4, 5, 6, 7, tzinfo=timezone.utc))

    def test_a_success_is_told_in_full(self):
        table = self.cluster.new_table()
        result = self.send(table, b"a,1\n", DataFormat.CSV)
        message = self.ended(result)
        self.assertEqual((message.Database, message.Table), (DATABASE, table))
        self.assertEqual(message.IngestionSourcePath, result.blob_uri.split("?")[0])
        self.assertTrue(uuid.UUID(message.OperationId) and uuid.UUID(message.RootActivityId))

    def test_a_failure_is_told_with_its_reason(self):
        table = self.cluster.new_table()
        for target, data, data_format, mapping, code in [
            ("NoSuchTable", b"a,1\n", DataFormat.CSV, None, "BadRequest_TableNotExist"),
            (table, b"{}", DataFormat.JSON, "NoSuchMapping", "BadRequest_MappingReferenceWasNotFound"),
            (table, b'{"name":"a"}\n{', DataFormat.MULTIJSON, "ByName", "BadRequest_InvalidBlob"),
            (table, b"", DataFormat.CSV, None, "BadRequest_EmptyBlob"),
            (table, b"PAR1", DataFormat.PARQUET, None, "BadRequest_FormatNotSupported"),
        ]:
            with self.subTest(code=code):
                result = self.send(target, data, data_format, ingestion_mapping_reference=mapping)
                message = self.ended(result)
                self.assertEqual(message.ErrorCode, code)
                self.assertEqual((message.FailureStatus, message.ShouldRetry), ("Permanent", False))
                self.assertEqual((message.Table, message.OriginatesFromUpdatePolicy), (target, False))
                self.assertTrue(message.Details and message.FailedOn)
                shown = self.cluster.table(f".show ingestion failures | where Table == '{target}'")
                path = result.blob_uri.split("?")[0]
                self.assertEqual([row["ErrorCode"] for row in shown if row["IngestionSourcePath"] == path], [code])
        self.assertEqual(self.found(table), [])

    def test_nothing_is_told_that_was_not_asked_for(self):
        table = self.cluster.new_table()
        quiet = [
            self.send(table, b"a,1\n", DataFormat.CSV, report_level=ReportLevel.DoNotReport),
            self.send("NoSuchTable", b"a,1\n", DataFormat.CSV, report_level=ReportLevel.DoNotReport),
            self.send(table, b"b,2\n", DataFormat.CSV, report_level=ReportLevel.FailuresOnly),
        ]
        until(lambda: len(self.found(table)) == 2)
        loud = self.send("NoSuchTable", b"a,1\n", DataFormat.CSV, report_level=ReportLevel.FailuresOnly)
        self.ended(loud)
        self.assertEqual([str(result.source_id) for result in quiet if str(result.source_id) in self.heard], [])

    def test_a_status_message_is_seen_until_it_is_deleted(self):
        self.send("NoSuchTable", b"a,1\n", DataFormat.CSV)
        queue = self.queues.failure
        until(lambda: not queue.is_empty())
        peeked = queue.peek(1)
        (taken,) = queue.pop(1, raw=True, delete=False)
        self.assertEqual(peeked[0].IngestionSourceId, json.loads(taken.content)["IngestionSourceId"])
        self.assertEqual(taken.dequeue_count, 1)
        self.assertTrue(queue.is_empty())
        reader = QueueClient.from_queue_url(self.cluster.lent("FailedIngestionsQueue")[0])
        with self.assertRaises(HttpResponseError) as raised:
            reader.delete_message(taken.id, "b3RoZXI=")
        self.assertEqual(raised.exception.error_code, "PopReceiptMismatch")
        reader.delete_message(taken.id, taken.pop_receipt)
        with self.assertRaises(ResourceNotFoundError):
            reader.delete_message(taken.id, taken.pop_receipt)

    def test_what_waits_to_be_ingested_can_be_read_by_nobody(self):
        queue = QueueClient.from_queue_url(self.cluster.lent("SecuredReadyForAggregationQueue")[0])
        for reads in [queue.peek_messages, lambda: list(queue.receive_messages()), queue.clear_messages]:
            with self.assertRaises(HttpResponseError) as raised:
                reads()
            self.assertEqual(raised.exception.status_code, 403)


class StatusTable(unittest.TestCase):
    """The client for Python knows no reports by table; those of other languages insert the row and post like this."""

    def setUp(self):
        self.cluster = Cluster()
        self.client = QueuedIngestClient(credentials())
        self.address = self.cluster.lent("IngestionsStatusTable")[0]
        self.rows = TableClient.from_table_url(self.address)

    def post(self, table, data, **properties):
        """A message that asks for a report by a row, which is made before."""
        properties = IngestionProperties(DATABASE, table, DataFormat.CSV, report_level=BOTH, **properties)
        blob = BlobDescriptor(self.cluster.upload(f"{uuid.uuid4()}.csv", data), size=len(data))
        source = str(blob.source_id)
        row = {"PartitionKey": source, "RowKey": str(uuid.UUID(int=0)), "Status": "Pending"}
        self.rows.create_entity({**row, "IngestionSourceId": uuid.UUID(source), "UpdatedOn": datetime.now(timezone.utc)})
        context = self.client._resource_manager.get_authorization_context()
        message = json.loads(IngestionBlobInfo(blob, properties, auth_context=context).to_json())
        message["ReportMethod"] = 1
        message["IngestionStatusInTable"] = {
            "TableConnectionString": self.address,
            "PartitionKey": row["PartitionKey"],
            "RowKey": row["RowKey"],
        }
        queue = self.cluster.lent("SecuredReadyForAggregationQueue")[0]
        QueueClient.from_queue_url(queue, message_encode_policy=TextBase64EncodePolicy()).send_message(json.dumps(message))
        return row["PartitionKey"], row["RowKey"]

    def ended(self, keys):
        def look():
            row = self.rows.get_entity(*keys)
            return row if row["Status"] != "Pending" else None

        return until(look)

    def test_a_row_tells_how_an_ingestion_ended(self):
        table = self.cluster.new_table()
        once = {"ingest_by_tags": ["k"], "ingest_if_not_exists": ["k"]}
        began = datetime.now(timezone.utc)
        keys = self.post(table, b"a,1\n", **once)
        row = self.ended(keys)
        self.assertEqual((row["Status"], row["IngestionSourceId"]), ("Succeeded", uuid.UUID(keys[0])))
        self.assertTrue(isinstance(row["OperationId"], uuid.UUID) and row["UpdatedOn"] >= began)
        skipped = self.ended(self.post(table, b"a,1\n", **once))
        self.assertEqual((skipped["Status"], skipped["ErrorCode"]), ("Skipped", "Skipped_IngestByTagAlreadyExists"))
        failed = self.ended(self.post("NoSuchTable", b"a,1\n"))
        self.assertEqual(
            [failed[name] for name in ("Status", "ErrorCode", "FailureStatus", "OriginatesFromUpdatePolicy")],
            ["Failed", "BadRequest_TableNotExist", "Permanent", False],
        )
        self.assertIn("NoSuchTable", failed["Details"])
        self.assertIn(keys[0], [row["PartitionKey"] for row in self.rows.list_entities()])

    def test_a_row_is_made_once_and_missed_where_it_is_not(self):
        row = {"PartitionKey": "it's", "RowKey": "a b", "Status": "Pending"}
        self.rows.create_entity(row)
        self.assertEqual(self.rows.get_entity("it's", "a b")["Status"], "Pending")
        with self.assertRaises(ResourceExistsError):
            self.rows.create_entity(row)
        with self.assertRaises(ResourceNotFoundError):
            self.rows.get_entity("no", "such")

    def test_a_signature_ends_where_its_rights_end(self):
        self.rows.create_entity({"PartitionKey": "kept", "RowKey": "r"})
        with self.assertRaises(HttpResponseError):
            self.rows.delete_entity("kept", "r")
        self.rows.get_entity("kept", "r")
        forged = TableClient.from_table_url(self.address.replace("sp=rau", "sp=raud"))
        with self.assertRaises(HttpResponseError) as raised:
            forged.get_entity("kept", "r")
        self.assertEqual(raised.exception.status_code, 403)


if __name__ == "__main__":
    unittest.main()
