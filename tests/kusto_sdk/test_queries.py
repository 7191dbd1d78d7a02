"""Queries: types, parameters, options, frames, and errors in every place."""

import unittest
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data._cloud_settings import CloudSettings
from azure.kusto.data.exceptions import KustoApiError, KustoMultiApiError, KustoServiceError, KustoUnsupportedApiError

from cluster import DATABASE, URL, Cluster, credentials

TYPES = "bool int long real decimal string datetime timespan guid dynamic".split()


class Queries(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()

    def refused(self, text, database=DATABASE, **options):
        with self.assertRaises(KustoApiError) as raised:
            if options:
                self.cluster.rows(text, **options)
            else:
                self.cluster.client.execute(database, text)
        return raised.exception

    def test_a_value_of_every_type_arrives(self):
        table = self.cluster.table(
            "print true, int(-3), 9223372036854775807, 0.5, decimal(2.00000000000001), 'é\"\\\\\\n\\0',"
            " datetime(2015-01-01T01:01:01.0000019Z), timespan(-1.02:03:04.5000006),"
            " guid(74be27de-1e4e-49d9-b579-fe0b331d3642), dynamic({'a': [1, null, 'x'], 'b': {}})"
        )
        self.assertEqual([column.column_type for column in table.columns], TYPES)
        self.assertEqual(
            table[0].to_list(),
            [
                True,
                -3,
                2**63 - 1,
                0.5,
                Decimal("2.00000000000001"),
                'é"\\\n\0',
                datetime(2015, 1, 1, 1, 1, 1, 1, timezone.utc),
                -timedelta(days=1, hours=2, minutes=3, seconds=4.5000006),
                "74be27de-1e4e-49d9-b579-fe0b331d3642",
                {"a": [1, None, "x"], "b": {}},
            ],
        )
        # The client's own types end at microseconds; what came has the seventh digit.
        self.assertEqual(table.raw_rows[0][6], "2015-01-01T01:01:01.0000019Z")
        self.assertEqual(table.raw_rows[0][7], "-1.02:03:04.5000006")

    def test_numbers_that_json_does_not_have_are_words(self):
        self.assertEqual(
            self.cluster.rows("print real(nan), real(+inf), real(-inf)"), [["NaN", "Infinity", "-Infinity"]]
        )

    def test_every_type_but_string_has_a_null(self):
        nulls = ", ".join(f"{name}(null)" for name in TYPES if name != "string")
        self.assertEqual(self.cluster.rows(f"print {nulls}"), [[None] * 9])
        self.assertEqual(self.cluster.rows("range x from 1 to 1 step 1 | project s = tostring(dynamic(null))"), [[""]])

    def test_a_dataset_has_properties_a_result_and_its_completion(self):
        answer = self.cluster.client.execute_query(DATABASE, "print x = 1")
        self.assertEqual(
            [table.table_kind.value for table in answer],
            ["QueryProperties", "PrimaryResult", "QueryCompletionInformation"],
        )
        self.assertEqual((answer.errors_count, answer.get_exceptions()), (0, []))
        self.assertEqual([answer["PrimaryResult"].rows_count, answer.primary_results[0][0]["x"]], [1, 1])

    def test_an_answer_is_read_while_it_comes(self):
        answer = self.cluster.client.execute_streaming_query(DATABASE, "range x from 1 to 30000 step 1")
        sums = [sum(row["x"] for row in table) for table in answer.iter_primary_results()]
        self.assertEqual((sums, answer.errors_count), ([450_015_000], 0))

    def test_frames_of_progress_come_only_if_asked_for(self):
        properties = ClientRequestProperties()
        properties.set_option("results_progressive_enabled", True)
        with self.assertRaises(KustoUnsupportedApiError):
            list(self.cluster.client.execute_streaming_query(DATABASE, "print 1", properties=properties))

    def test_parameters_are_values_whatever_they_hold(self):
        properties = ClientRequestProperties()
        for name, value in [
            ("n", "7"),
            ("s", "it's | take 0 //"),
            ("d", "dynamic([1, {}])"),
            ("at", "datetime(2024-02-03)"),
            ("b", "bool(true)"),
        ]:
            properties.set_parameter(name, value)
        text = (
            "declare query_parameters(n:long, s:string, d:dynamic, at:datetime, b:bool, left:long = 5);"
            " print n + 1, s, d, at, b, left"
        )
        (row,) = self.cluster.client.execute(DATABASE, text, properties).primary_results[0]
        expected = [8, "it's | take 0 //", [1, {}], datetime(2024, 2, 3, tzinfo=timezone.utc), True, 5]
        self.assertEqual(row.to_list(), expected)

    def test_the_ids_of_a_request_come_back(self):
        properties = ClientRequestProperties()
        properties.client_request_id = "checks.query;4f1d"
        properties.application = "checks"
        properties.set_option("queryconsistency", "strongconsistency")
        properties.set_option("servertimeout", timedelta(minutes=1))
        answer = self.cluster.client.execute(DATABASE, "print 1", properties)
        told = answer["QueryCompletionInformation"]
        self.assertEqual({row["ClientRequestId"] for row in told}, {"checks.query;4f1d"})
        with self.assertRaises(KustoApiError) as raised:
            self.cluster.client.execute(DATABASE, "print (", properties)
        headers = raised.exception.http_response.headers
        self.assertEqual(headers["x-ms-client-request-id"], "checks.query;4f1d")
        self.assertTrue(headers["x-ms-activity-id"])

    def test_half_a_million_rows_are_the_most_unless_the_limit_is_lifted(self):
        text = "range x from 1 to 500001 step 1"
        for options in [{}, {"notruncation": True, "truncationmaxrecords": 500_000}]:
            with self.assertRaises(KustoMultiApiError) as raised:
                self.cluster.rows(text, **options)
            (error,) = raised.exception.get_api_errors()
            self.assertEqual(error.code, "LimitsExceeded")
            self.assertIn("E_QUERY_RESULT_SET_TOO_LARGE", error.description)
        self.assertEqual(self.cluster.table(text, notruncation=True).rows_count, 500_001)
        self.assertEqual(self.cluster.table(f"set notruncation; {text}").rows_count, 500_001)

    def test_an_error_among_streamed_rows_is_met_where_it_stands(self):
        properties = ClientRequestProperties()
        properties.set_option("truncationmaxrecords", 3)
        answer = self.cluster.client.execute_streaming_query(DATABASE, "range x from 1 to 9 step 1", properties=properties)
        rows = iter(next(answer.iter_primary_results()))
        self.assertEqual([next(rows)["x"] for _ in range(3)], [1, 2, 3])
        with self.assertRaises(KustoMultiApiError):
            next(rows)

    def test_a_name_that_is_not_there_is_a_semantic_error(self):
        error = self.refused("NoSuchTable | take 1")
        self.assertTrue(error.is_semantic_error())
        self.assertEqual((error.get_api_error().code, error.get_api_error().permanent), ("General_BadRequest", True))
        self.assertIn("NoSuchTable", error.get_api_error().description)

    def test_a_text_that_is_no_query_is_a_syntax_error(self):
        error = self.refused("print (")
        self.assertFalse(error.is_semantic_error())
        self.assertIn("Syntax error", str(error))
        self.assertEqual((error.http_response.status_code, error.get_api_error().permanent), (400, True))

    def test_a_database_that_is_not_there_is_named(self):
        self.assertIn("NoSuchDatabase", str(self.refused("print 1", database="NoSuchDatabase")))

    def test_the_database_may_stand_in_the_connection(self):
        connection = credentials()
        connection["Initial Catalog"] = DATABASE.upper()
        with KustoClient(connection) as client:
            self.assertEqual(client.execute(None, "print 1").primary_results[0][0][0], 1)

    def test_a_token_of_another_tenant_is_no_access(self):
        stranger = KustoConnectionStringBuilder.with_aad_application_token_authentication(URL, "eyJhbGciOiJub25lIn0.e30.")
        with KustoClient(stranger) as client, self.assertRaises(KustoServiceError) as raised:
            client.execute(DATABASE, "print 1")
        self.assertEqual(raised.exception.http_response.status_code, 401)

    def test_metadata_say_where_tokens_come_from(self):
        cloud = CloudSettings.get_cloud_info_for_cluster(URL)
        self.assertEqual(cloud.kusto_service_resource_id, "https://kusto.kusto.windows.net")
        self.assertEqual(cloud.login_endpoint, "https://login.microsoftonline.com")
        self.assertFalse(cloud.login_mfa_required)


if __name__ == "__main__":
    unittest.main()
