"""What all checks share: clients of one cluster, tables of their own, and waiting for what takes its time."""

import os
import time
import uuid

from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.storage.blob import ContainerClient

URL = os.environ["ADX_CLUSTER_URI"]
DATABASE = os.environ["ADX_DATABASE"]
PATIENCE = 60
COLUMNS = "Name:string, N:long, At:datetime, Bag:dynamic"
JSON_MAPPING = (
    '[{"column":"Name","Properties":{"Path":"$.name"}},{"column":"N","Properties":{"Path":"$.n"}},'
    '{"column":"At","Properties":{"Path":"$.at"}},{"column":"Bag","Properties":{"Path":"$"}}]'
)
CSV_MAPPING = '[{"column":"N","Properties":{"Ordinal":"0"}},{"column":"Name","Properties":{"Ordinal":"1"}}]'


def credentials():
    """The managed identity of this machine, with the audience that the cluster's metadata name."""
    return KustoConnectionStringBuilder.with_aad_managed_service_identity_authentication(URL)


class Cluster:
    """An engine client with the shortest words for what checks do with it."""

    def __init__(self):
        self.client = KustoClient(credentials())

    def rows(self, text, **options):
        """The rows of the one primary result of a query or command, as lists."""
        return [row.to_list() for row in self.table(text, **options)]

    def table(self, text, **options):
        properties = ClientRequestProperties()
        for name, value in options.items():
            properties.set_option(name, value)
        (result,) = self.client.execute(DATABASE, text, properties).primary_results
        return result

    def new_table(self, columns=COLUMNS, mapped=True, streams=False):
        """A table that no other check knows."""
        name = f"T{uuid.uuid4().hex}"
        self.rows(f".create-merge table {name} ({columns})")
        if mapped:
            self.rows(f".create table {name} ingestion json mapping 'ByName' '{JSON_MAPPING}'")
            self.rows(f".create table {name} ingestion csv mapping 'ByPlace' '{CSV_MAPPING}'")
        if streams:
            self.rows(f".alter table {name} policy streamingingestion enable")
        return name

    def lent(self, kind):
        """The addresses of what data management lends."""
        return [root for of, root in self.rows(".get ingestion resources") if of == kind]

    def upload(self, name, content):
        """A blob in a lent container; its address with the signature that it was lent with."""
        blob = ContainerClient.from_container_url(self.lent("TempStorage")[0]).get_blob_client(name)
        blob.upload_blob(content)
        return blob.url


def until(found):
    """What `found` gives, as soon as it is something."""
    deadline = time.monotonic() + PATIENCE
    while True:
        what = found()
        if what:
            return what
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing came within {PATIENCE} s")
        time.sleep(0.05)
