"""Drives an app through the official client for Python, unchanged: python client.py BASE."""

import asyncio
import json
import sys
from datetime import datetime, timedelta, timezone

import azure.functions as func
from azure.durable_functions import DurableOrchestrationClient, OrchestrationRuntimeStatus
from azure.durable_functions.models.utils.http_utils import _close_session

BASE = sys.argv[1]
FUNCTION = "start_orchestrator"
HUB = "taskHub=TaskHub&connection=AzureWebJobsStorage"


def new_client():
    """A client as a function of the app is handed one, made from what its binding says."""
    instance = f"{BASE}/api/instances/INSTANCEID"
    return DurableOrchestrationClient(
        json.dumps(
            {
                "taskHubName": "TaskHub",
                "creationUrls": {},
                "managementUrls": {"id": "INSTANCEID", "statusQueryGetUri": f"{instance}?{HUB}"},
                "rpcBaseUrl": f"{BASE}/api/",
            }
        )
    )


async def until(client, instance_id, status):
    for _ in range(600):
        seen = await client.get_status(instance_id)
        if seen.runtime_status == status:
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"{instance_id} never came to be {status}")


async def refused(call, says):
    try:
        await call
    except Exception as error:  # the client raises nothing more exact
        assert says in str(error), error
    else:
        raise AssertionError(f"not refused: {says}")


async def lifecycle(client):
    status = OrchestrationRuntimeStatus
    first = await client.start_new(FUNCTION)
    assert len(first) == 32, first
    await refused(client.start_new(FUNCTION), first)
    await client.suspend(first, "lunch & more")
    held = await until(client, first, status.Suspended)
    assert held.custom_status["suspended_because"] == "lunch & more", held.custom_status
    await client.raise_event(first, "noticed", {"by": "nobody"})
    await client.resume(first, "back")
    await until(client, first, status.Running)
    await client.terminate(first, "enough")
    ended = await client.get_status(first, show_history=True, show_history_output=True, show_input=True)
    assert (ended.runtime_status, ended.output) == (status.Terminated, "enough"), ended.to_json()
    assert [event["EventType"] for event in ended.historyEvents] == ["ExecutionStarted", "ExecutionTerminated"]
    assert ended.name == FUNCTION and ended.created_time <= ended.last_updated_time
    await client.terminate(first, "again")
    await refused(client.rewind(first, "again"), "only supported on failed")

    # A singleton, as the documentation builds it.
    assert not await client.get_status("The-One")
    assert await client.start_new(FUNCTION, "The-One", {"tables": ["AlertInfo"]}) == "The-One"
    request = func.HttpRequest("GET", f"{BASE}/api/whatever", body=b"")
    done = await client.wait_for_completion_or_create_check_status_response(request, "The-One", 60_000, 100)
    summary = json.loads(done.get_body())["result"]["processing_summary"]
    assert (done.status_code, summary["failed_tables"]) == (200, 0), summary
    assert await client.start_new(FUNCTION, "The-One", {"tables": ["AlertInfo"]}) == "The-One"
    await until(client, "The-One", status.Completed)
    again = await client.restart("The-One")
    await until(client, again["id"], status.Completed)
    assert (await client.restart("The-One", restart_with_new_instance_id=False))["id"] == "The-One"
    await until(client, "The-One", status.Completed)
    return [first, "The-One", again["id"]]


async def refuses(client):
    for call in (client.terminate, client.suspend, client.resume, client.rewind):
        await refused(call("unknown", "why"), "No instance with ID")
    await refused(client.raise_event("unknown", "x"), "No instance with ID")
    await refused(client.restart("unknown"), "400")
    await refused(client.start_new("nothing"), "only one is `start_orchestrator`")
    await refused(client.start_new(FUNCTION, "not an id"), "cannot be the id of a run")
    assert (await client.purge_instance_history("unknown")).instances_deleted == 0


async def lists_and_purges(client, ids):
    status = OrchestrationRuntimeStatus
    now = datetime.now(timezone.utc)
    assert sorted(run.instance_id for run in await client.get_status_all()) == sorted(ids)
    spans = {"created_time_from": now - timedelta(days=1), "created_time_to": now + timedelta(minutes=1)}
    ended = await client.get_status_by(**spans, runtime_status=[status.Terminated, status.Failed])
    assert [run.instance_id for run in ended] == ids[:1]
    named = await client.get_status_by(instance_id_prefix="The-")
    assert [run.instance_id for run in named] == ["The-One"]
    assert (await client.purge_instance_history(ids[0])).instances_deleted == 1
    assert (await client.purge_instance_history(ids[0])).instances_deleted == 0
    purged = await client.purge_instance_history_by(**spans, runtime_status=[status.Completed])
    assert purged.instances_deleted == 2, purged.instances_deleted
    assert (await client.purge_instance_history_by(**spans)).instances_deleted == 0
    assert await client.get_status_all() == []


async def main():
    client = new_client()
    try:
        ids = await lifecycle(client)
        await refuses(client)
        await lists_and_purges(client, ids)
    finally:
        await _close_session()


asyncio.run(main())
