"""Management commands: definitions, what shows them, and rows that come inside of commands."""

import json
import unittest

from azure.kusto.data.exceptions import KustoApiError

from cluster import COLUMNS, JSON_MAPPING, Cluster


class Commands(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()

    def refused(self, text, **options):
        with self.assertRaises(KustoApiError) as raised:
            self.cluster.rows(text, **options)
        return raised.exception.get_api_error()

    def test_a_table_is_made_widened_shown_and_dropped(self):
        name = self.cluster.new_table(mapped=False)
        (shown,) = self.cluster.rows(f".create-merge table {name} (N:long, Extra:real) with (folder = 'f')")
        self.assertEqual(
            [column["Name"] for column in json.loads(shown[1])["OrderedColumns"]], ["Name", "N", "At", "Bag", "Extra"]
        )
        (listed,) = [row for row in self.cluster.table(".show tables") if row["TableName"] == name]
        self.assertEqual(listed["Folder"], "f")
        (schema,) = self.cluster.table(f".show table {name} cslschema")
        self.assertEqual(schema["Schema"], COLUMNS.replace(", ", ",") + ",Extra:real")
        self.assertEqual(self.cluster.rows(f"{name} | count"), [[0]])
        self.cluster.rows(f".drop table {name} ifexists")
        self.assertTrue(self.refused(f".show table {name} cslschema").permanent)

    def test_a_column_keeps_its_type(self):
        name = self.cluster.new_table(mapped=False)
        error = self.refused(f".create-merge table {name} (N:string)")
        self.assertTrue(error.permanent)
        self.assertIn("N", error.description)

    def test_mappings_are_apart_by_kind(self):
        name = self.cluster.new_table()
        self.assertTrue(self.refused(f".create table {name} ingestion json mapping 'ByName' '[]'").permanent)
        self.cluster.rows(f".create table {name} ingestion csv mapping 'ByName' '[]'")
        (shown,) = self.cluster.table(f".show table {name} ingestion json mapping 'ByName'")
        self.assertEqual((shown["Kind"], json.loads(shown["Mapping"])), ("Json", json.loads(JSON_MAPPING)))
        kinds = {row["Name"]: row["Kind"] for row in self.cluster.table(f".show table {name} ingestion csv mappings")}
        self.assertEqual(kinds, {"ByName": "Csv", "ByPlace": "Csv"})
        self.cluster.rows(f".create-or-alter table {name} ingestion csv mapping 'ByName' '[{{\"column\":\"N\",\"Ordinal\":0}}]'")
        self.cluster.rows(f".drop table {name} ingestion csv mapping 'ByName'")
        self.refused(f".show table {name} ingestion csv mapping 'ByName'")
        self.assertEqual(len(self.cluster.rows(f".show table {name} ingestion json mappings")), 1)

    def test_policies_are_set_merged_shown_and_deleted(self):
        name = self.cluster.new_table(mapped=False)
        policy = lambda: json.loads(self.cluster.table(f".show table {name} policy ingestionbatching")[0]["Policy"])
        self.assertIsNone(policy())
        batching = {"MaximumBatchingTimeSpan": "00:00:30", "MaximumNumberOfItems": 500, "MaximumRawDataSizeMB": 1024}
        self.cluster.rows(f".alter table {name} policy ingestionbatching '{json.dumps(batching)}'")
        self.assertEqual(policy(), batching)
        self.cluster.rows(f".alter-merge table {name} policy ingestionbatching '{{\"MaximumNumberOfItems\": 7}}'")
        self.assertEqual(policy(), {**batching, "MaximumNumberOfItems": 7})
        self.cluster.rows(f".delete table {name} policy ingestionbatching")
        self.assertIsNone(policy())

    def test_data_management_lends_what_ingestion_needs(self):
        lent = [kind for kind, _ in self.cluster.rows(".get ingestion resources")]
        self.assertEqual(
            set(lent),
            {
                "SecuredReadyForAggregationQueue",
                "TempStorage",
                "SuccessfulIngestionsQueue",
                "FailedIngestionsQueue",
                "IngestionsStatusTable",
            },
        )
        self.assertTrue(lent.count("TempStorage") > 1 and lent.count("SecuredReadyForAggregationQueue") > 1)
        # No database is named here; the client then sends none.
        (token,) = self.cluster.client.execute_mgmt(None, ".get kusto identity token").primary_results[0]
        self.assertTrue(token["AuthorizationContext"])
        (version,) = self.cluster.client.execute("NetDefaultDB", ".show version").primary_results[0]
        self.assertTrue(version["ServiceType"])

    def test_rows_from_a_query_land_once_for_a_tag(self):
        name = self.cluster.new_table("A:string, N:long", mapped=False)
        once = "with (tags = '[\"ingest-by:k\",\"drop-by:d\"]', ingestIfNotExists = '[\"k\"]')"
        text = f".set-or-append {name} {once} <| datatable(A:string, N:long)['x', 1, 'it''s', 2]"
        self.assertEqual(self.cluster.table(text)[0]["RowCount"], 2)
        self.assertEqual(self.cluster.table(text)[0]["RowCount"], 0)
        (extent,) = self.cluster.table(f".show table {name} extents where tags has 'ingest-by:k'")
        self.assertEqual((extent["RowCount"], sorted(extent["Tags"].split())), (2, ["drop-by:d", "ingest-by:k"]))
        self.assertEqual(self.cluster.rows(f".show table {name} details | project TotalRowCount"), [[2]])

    def test_rows_inside_a_command_are_read_as_those_of_a_blob(self):
        name = self.cluster.new_table()
        self.cluster.rows(f'.ingest inline into table {name} with (format = "csv") <|\na,1\n"b,""c""",2')
        mapped = 'with (format = "multijson", ingestionMappingReference = "ByName")'
        self.cluster.rows(f'.ingest inline into table {name} {mapped} <| [{{"name": "d", "n": 3}}]')
        rows = self.cluster.rows(f"{name} | project Name, N | order by N asc")
        self.assertEqual(rows, [["a", 1], ['b,"c"', 2], ["d", 3]])

    def test_a_function_is_read_like_a_table(self):
        name = self.cluster.new_table("N:long", mapped=False)
        self.cluster.rows(f".create-or-alter function with (folder = 'f', view = true) {name}View() {{ {name} | extend M = N + 1 }}")
        self.cluster.rows(f".set-or-append {name} <| print N = 1")
        self.assertEqual(self.cluster.rows(f"{name}View | project M"), [[2]])

    def test_a_script_says_of_each_command_how_it_went(self):
        name = self.cluster.new_table("N:long", mapped=False)
        script = f".create-merge table {name} (M:long)\n\n// Another type.\n.create-merge table {name} (M:string)"
        table = self.cluster.table(f".execute database script <|\n{script}")
        self.assertEqual([row["Result"] for row in table], ["Completed", "Failed"])
        self.assertTrue(table[1]["Reason"])
        self.refused(f".execute database script with (ThrowOnErrors = true) <|\n{script}")

    def test_a_request_for_looking_only_changes_nothing(self):
        self.refused(".create-merge table NotThere (N:long)", request_readonly=True)
        self.assertNotIn("NotThere", [row["TableName"] for row in self.cluster.table(".show tables", request_readonly=True)])

    def test_what_is_no_command_is_refused(self):
        error = self.refused(".no such command")
        self.assertEqual((error.code, error.permanent), ("General_BadRequest", True))


if __name__ == "__main__":
    unittest.main()
