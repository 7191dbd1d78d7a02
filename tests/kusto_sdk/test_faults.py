"""What the clients make of faults, which come as `tests/system/kusto_sdk.rs` has written them down: each check has its own cloud."""

import io
import unittest

from azure.kusto.data import DataFormat
from azure.kusto.data.exceptions import KustoApiError, KustoMultiApiError, KustoThrottlingError
from azure.kusto.ingest import IngestionProperties, IngestionStatus, ManagedStreamingIngestClient, QueuedIngestClient

from cluster import DATABASE, Cluster, credentials, until


class Faults(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.table = self.cluster.new_table(streams=True)
        self.properties = IngestionProperties(DATABASE, self.table, DataFormat.CSV)

    def test_a_failure_is_found_wherever_it_stands(self):
        ask = lambda: self.cluster.client.execute_query(DATABASE, "range x from 1 to 3 step 1")
        with self.assertRaises(KustoMultiApiError) as raised:
            ask()
        self.assertEqual(raised.exception.get_api_errors()[0].code, "LowMemoryCondition")
        failed = ask()
        self.assertEqual(failed.errors_count, 1)
        self.assertIn("E_LOW_MEMORY_CONDITION", failed.get_exceptions()[0])
        with self.assertRaises(KustoThrottlingError):
            ask()
        with self.assertRaises(KustoApiError) as raised:
            ask()
        self.assertEqual((raised.exception.get_api_error().permanent, raised.exception.http_response.status_code), (False, 503))
        self.assertEqual(ask().errors_count, 0)

    def test_a_stream_that_is_turned_away_is_queued(self):
        client = ManagedStreamingIngestClient(credentials(), credentials())
        client._set_retry_settings(max_seconds_per_retry=0.01)
        result = client.ingest_from_stream(io.BytesIO(b"a,1\n"), self.properties)
        self.assertEqual(result.status, IngestionStatus.SUCCESS)
        result = client.ingest_from_stream(io.BytesIO(b"b,2\n"), self.properties)
        self.assertEqual(result.status, IngestionStatus.QUEUED)
        until(lambda: self.cluster.rows(f"{self.table} | project N | order by N asc") == [[1], [2]])
        # The answer to the first of these is lost, and what was done for it is there twice.
        result = client.ingest_from_stream(io.BytesIO(b"c,3\n"), self.properties)
        self.assertEqual(result.status, IngestionStatus.SUCCESS)
        self.assertEqual(self.cluster.rows(f"{self.table} | where N == 3 | count"), [[2]])

    def test_a_queue_that_refuses_is_gone_round(self):
        client = QueuedIngestClient(credentials())
        self.assertEqual(client.ingest_from_stream(io.BytesIO(b"a,1\n"), self.properties).status, IngestionStatus.QUEUED)
        until(lambda: self.cluster.rows(f"{self.table} | count") == [[1]])


if __name__ == "__main__":
    unittest.main()
