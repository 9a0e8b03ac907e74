"""Whether answers are what /openapi.json promises."""

import copy
import re
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate
from uvicorned import Uvicorn

Seen = list[tuple[str, str, Any]]


def holds(service: Uvicorn, seen: Seen) -> int:
    """Each answer seen is described: its status, its body, its headers. Says how many
    operations were seen."""
    document = service.get("/openapi.json").json()
    validate(document)  # it is OpenAPI
    for page in ("/docs", "/redoc"):
        shown = service.get(page)
        assert shown.status == 200 and b"/openapi.json" in shown.body, page
    components = copy.deepcopy(document["components"])
    for schema in components["schemas"].values():  # nothing that is not said
        if "properties" in schema:
            schema["additionalProperties"] = False
    operations = set()
    for method, path, response in seen:
        template = _template(document["paths"], path.partition("?")[0])
        operation = document["paths"][template][method.lower()]
        assert operation["tags"] and operation["description"], template
        described = operation["responses"].get(str(response.status))
        assert described is not None, (method, path, response.status)
        schema = described["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": components}).validate(response.json())
        for name in ("X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After"):
            assert response.headers[name] is None or name in described["headers"], (method, path, name)
        operations.add(operation["operationId"])
    all_of_them = {of["operationId"] for path in document["paths"].values() for of in path.values()}
    assert operations == all_of_them, all_of_them - operations
    return len(operations)


def _template(paths: dict[str, Any], path: str) -> str:
    for template in sorted(paths, key=lambda template: "{" in template):
        if re.fullmatch(re.sub(r"\{\w+\}", ".+", template), path):
            return template
    raise AssertionError(f"{path} is not described")
