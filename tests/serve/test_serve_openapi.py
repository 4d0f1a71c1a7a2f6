"""The OpenAPI document is true: whatever it allows is answered as it says."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from property_examples import examples_of
from schemathesis import checks

from vision_recs.serve.app import ROUTES


def test_the_document_has_every_route_and_every_reference_leads_somewhere(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    named = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert named == {(route.method, route.path.replace(":any", "")) for route in ROUTES}
    text = json.dumps(document)
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    for reference in references:
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(ROUTES)
    assert all(operation["summary"] for operation in operations)
    parameters = {part["name"]: part for part in document["paths"]["/v1/similar"]["get"]["parameters"]}
    assert parameters["k"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10}
    assert parameters["id"]["schema"]["type"] == "array"


@pytest.fixture(scope="module")
def api(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_whatever_the_document_allows_is_answered_as_it_says(api, route):
    operation = api[route.path.replace(":any", "")][route.method]

    @settings(max_examples=examples_of(30), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy())
    def call(case):
        case.call_and_validate(checks=CHECKS)

    call()
