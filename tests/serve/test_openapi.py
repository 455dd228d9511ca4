"""The description of the server against the server: all of it, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Match, Route

from castor.serve.described_operations import OPERATIONS
from castor.serve.paths import spelled

from .described import Served
from .driver import client_of

PAGE = {("GET", "/"), ("GET", "/web/{name:path}")}  # what people see is no part of the API


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(tmp_path_factory.mktemp("kept"))


def matched(served: Served, method: str, path: str) -> Route:
    """The route that answers."""
    for name, value in (("version", "v1beta"), ("model", "x"), ("id", "x")):
        path = path.replace(f"{{{name}}}", value)
    scope, _ = spelled({"type": "http", "method": method, "path": path, "headers": []})
    return next(
        route
        for route in served.routes
        if isinstance(route, Route) and route.matches(scope)[0] is Match.FULL
    )


def test_every_route_is_described_and_all_that_is_described_is_a_route(served: Served) -> None:
    described = {
        (method, matched(served, method, path).path)
        for method, path, _ in served.operations.values()
    }
    answered = {
        (method, route.path)
        for route in served.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert described == answered - PAGE


def test_no_operation_is_described_that_no_server_has(served: Served) -> None:
    found = {name.removesuffix("Tuned") for name in served.operations}
    assert found == {operation.id for operation in OPERATIONS.values()}
    assert len(OPERATIONS) == len(found)


def test_what_is_not_served_is_not_described() -> None:
    paths = client_of().get("/openapi.json").json()["paths"]
    assert "/{version}/models/{model}:generateContent" in paths
    assert not any("files" in path or "batches" in path for path in paths)


def test_every_schema_is_one_of_json_schema_and_every_name_is_that_of_one(served: Served) -> None:
    schemas = served.told["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    named = {ref.rpartition("/")[2] for ref in refs(served.told)}
    assert named == schemas.keys()


def refs(value: Any) -> Iterator[str]:
    """All that a part of the description points to."""
    if isinstance(value, dict) and isinstance(target := value.get("$ref"), str):
        assert target.startswith("#/components/schemas/"), target
        yield target
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from refs(each)


def test_the_document_has_the_form_of_openapi(served: Served) -> None:
    told = served.told
    assert told["openapi"] == "3.1.0" and {"title", "version"} <= told["info"].keys()
    for path, methods in told["paths"].items():
        parameters = {each["name"] for each in methods["parameters"]}
        assert path.startswith("/") and path.count("{") == len(parameters)
        assert all(f"{{{name}}}" in path for name in parameters)
    for _, _, operation in served.operations.values():
        places = [(each["in"], each["name"]) for each in operation["parameters"]]
        assert len(places) == len(set(places)) and {place for place, _ in places} <= {
            "query",
            "header",
        }
        assert operation["summary"].endswith(".") and operation["responses"]
        for code, response in operation["responses"].items():
            assert 200 <= int(code) < 600 and response["description"]


def test_the_description_needs_no_key_and_says_what_does() -> None:
    client = client_of(keys=frozenset({"k"}))
    told = client.get("/openapi.json").json()
    assert client.get("/v1/openapi.json").json() == told
    assert told["security"] == [{"header": []}, {"query": []}, {"bearer": []}]
    assert told["components"]["securitySchemes"].keys() == {"header", "query", "bearer"}
    assert told["paths"]["/health"]["get"]["security"] == []
    assert "security" not in told["paths"]["/{version}/models"]["get"]
    assert "security" not in client_of().get("/openapi.json").json()


@pytest.mark.parametrize("strict", [False, True])
def test_names_of_models_that_are_described_are_those_that_are_served(strict: bool) -> None:
    client = client_of(strict_models=strict)
    paths = client.get("/openapi.json").json()["paths"]
    (_, model) = paths["/{version}/models/{model}"]["parameters"]
    known = Draft202012Validator(model["schema"])
    for name in ("castor-fake", "gemini-2.5-flash", "gemma3-1b", "gemma", "other", "castor-fake2"):
        served = client.get(f"/v1/models/{name}").status_code == 200
        assert known.is_valid(name) == served, name


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/files", "GET, HEAD"),
        ("PATCH", "/v1/files/x", "DELETE, GET, HEAD"),
        ("DELETE", "/v1/files/x:download", "GET, HEAD"),
        ("POST", "/v1/files/x:download", "GET, HEAD"),
        ("GET", "/v1/batches/x:cancel", "POST"),
        ("GET", "/v1/models/castor-fake:generateContent", "POST"),
        ("DELETE", "/upload/v1/files", "POST, PUT"),
        ("PUT", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/openapi.json", "GET, HEAD"),
        ("TRACE", "/v1/cachedContents", "GET, HEAD, POST"),
    ],
)
def test_a_wrong_method_is_told_which_there_are(
    served: Served, method: str, path: str, allowed: str
) -> None:
    response = served.client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json()["error"]["message"].endswith(f" does not take {method}.")


@pytest.mark.parametrize("path", ["/files:register", "/files/x:copy", "/models/x:translate"])
def test_methods_of_the_api_that_are_not_here_are_not_called_wrong(
    served: Served, path: str
) -> None:
    response = served.client.post(f"/v1{path}")
    assert response.status_code == 501 and "allow" not in response.headers
