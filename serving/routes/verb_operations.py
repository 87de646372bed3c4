"""What /openapi.json says of the verbs."""

from serving import verbs
from serving.routes.openapi import JSON, Media, Operation
from serving.settings import Settings


def of(settings: Settings) -> list[Operation]:
    """The operations of the native dialect."""
    return [
        Operation(
            method=method,
            path=f"/v1/models/{{model}}/{verb}",
            tag="verbs",
            summary=verb,
            answer={JSON: Media({"type": "object"})},
        )
        for verb in verbs.VERBS
        for method in (("get", "post") if verb == "sample" else ("post",))
    ]
