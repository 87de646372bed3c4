"""What deploy/ tells a cluster, held to the schemas of those who read it, and to the server.

Without a cluster: Kubernetes' own schemas (package kubernetes-validate), the Compose specification
(compose_spec.json, from docker-compose 1.29.2, Apache-2.0), and of KServe's kinds those fields that
its resources have (KServe 0.15, Apache-2.0), their containers being Kubernetes'.
"""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]

from serving.draining import GRACE
from serving.settings import VARIABLES

DEPLOY = Path(__file__).parents[2] / "deploy"
VERSION = "1.33"
KUBERNETES = ("deployment", "service", "disruption", "autoscaling")
STRING = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}


def closed(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """The schema of an object with these fields and no other."""
    return {"type": "object", "properties": fields, "required": list(required),
            "additionalProperties": False}  # fmt: skip


FORMAT = closed(("name",), name=STRING, version=STRING, autoSelect={"type": "boolean"},
                priority=COUNT)  # fmt: skip
PROTOCOLS = {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}
KSERVE = {
    "ServingRuntime": closed(
        ("containers",),
        annotations={"type": "object", "additionalProperties": STRING},
        containers={"type": "array", "minItems": 1},  # as Kubernetes has them
        volumes={"type": "array"},
        multiModel={"type": "boolean"},
        protocolVersions={"type": "array", "items": PROTOCOLS},
        supportedModelFormats={"type": "array", "items": FORMAT, "minItems": 1},
    ),
    "InferenceService": closed(
        ("predictor",),
        predictor=closed(
            ("model",),
            minReplicas=COUNT,
            maxReplicas=COUNT,
            scaleMetric={"enum": ["cpu", "memory", "concurrency", "rps"]},
            scaleTarget=COUNT,
            model=closed(
                ("modelFormat",),
                modelFormat=closed(("name",), name=STRING, version=STRING),
                runtime=STRING,
                protocolVersion=PROTOCOLS,
                storageUri={"type": "string", "pattern": "^(pvc|s3|gs|https?|hf)://"},
            ),
        ),
    ),
}


def document(*parts: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DEPLOY.joinpath(*parts).read_text())
    return found


def kubernetes(name: str) -> dict[str, Any]:
    return document("kubernetes", f"{name}.yaml")


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    found: dict[str, Any] = only
    return found


RUNTIME = document("kserve", "runtime.yaml")
POD = kubernetes("deployment")["spec"]["template"]["spec"]
PODS = {"kubernetes": POD, "kserve": RUNTIME["spec"]}


@pytest.mark.parametrize("name", KUBERNETES)
def test_kubernetes_takes_it(name: str) -> None:
    kubernetes_validate.validate(kubernetes(name), VERSION, strict=True)


def test_a_word_that_kubernetes_does_not_know_is_found() -> None:
    wrong = kubernetes("deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_the_kustomization_names_every_resource_and_its_image() -> None:
    top = document("kubernetes", "kustomization.yaml")
    assert {Path(one).stem for one in top["resources"]} == set(KUBERNETES)
    gpu = document("kubernetes", "gpu", "kustomization.yaml")
    assert {one["name"] for one in (*top["images"], *gpu["images"])} == {container(POD)["image"]}


def test_a_gpu_patch_names_what_it_patches() -> None:
    whole, patch = kubernetes("deployment"), document("kubernetes", "gpu", "gpu.yaml")
    assert patch["metadata"]["name"] == whole["metadata"]["name"]
    patched = patch["spec"]["template"]["spec"]
    assert container(patched)["name"] == container(POD)["name"]
    assert container(patched)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    # As kustomize merges it, for the schema's sake: lists by name, the rest over what was there.
    merged = {**container(POD), **container(patched)}
    whole["spec"]["template"]["spec"] |= {**patched, "containers": [merged]}
    whole["spec"]["strategy"] |= patch["spec"]["strategy"]
    kubernetes_validate.validate(whole, VERSION, strict=True)


def test_all_speak_of_the_same_pods() -> None:
    deployment = kubernetes("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes("service")["spec"]["selector"] == labels
    assert kubernetes("disruption")["spec"]["selector"]["matchLabels"] == labels
    target = kubernetes("autoscaling")["spec"]["scaleTargetRef"]
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }
    (port,) = kubernetes("service")["spec"]["ports"]
    assert port["targetPort"] in [one["name"] for one in container(POD)["ports"]]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_nobody_and_cannot_write_into_its_image(name: str) -> None:
    rights = {**PODS[name].get("securityContext", {}), **container(PODS[name])["securityContext"]}
    assert rights["runAsNonRoot"] is True
    assert rights["runAsUser"] == 10001  # as in the containerfile
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert [mount["mountPath"] for mount in container(PODS[name])["volumeMounts"]] == ["/tmp"]


@pytest.mark.parametrize("name", PODS)
def test_probes_ask_what_the_server_answers(name: str) -> None:
    pod = container(PODS[name])
    live, ready = ("/livez", "/readyz") if name == "kubernetes" else (
        "/v2/health/live", "/v2/health/ready")  # fmt: skip
    assert pod["startupProbe"]["httpGet"]["path"] == ready
    assert pod["readinessProbe"]["httpGet"]["path"] == ready
    assert pod["livenessProbe"]["httpGet"]["path"] == live
    names = {one["name"]: one["containerPort"] for one in pod["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = pod[probe]["httpGet"]["port"]
        assert names.get(port, port) == 3000  # where `biject serve` listens


@pytest.mark.parametrize("name", PODS)
def test_the_environment_is_the_settings(name: str) -> None:
    assert {one["name"] for one in container(PODS[name])["env"]} <= set(VARIABLES.values())


def test_a_pod_has_the_time_to_finish() -> None:
    wait = int(container(POD)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > wait + GRACE


def test_the_autoscaler_reads_a_figure_that_the_server_has() -> None:
    (metric,) = kubernetes("autoscaling")["spec"]["metrics"]
    (rule,) = document("kubernetes", "adapter.yaml")["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    asked = set(re.findall(r"biject_\w+", f"{rule['seriesQuery']} {rule['metricsQuery']}"))
    assert asked == {"biject_queue_seconds_count", "biject_queue_seconds_sum"}


@pytest.mark.parametrize("file", ["runtime.yaml", "inferenceservice.yaml"])
def test_kserve_takes_it(file: str) -> None:
    found = document("kserve", file)
    jsonschema.validate(found["spec"], KSERVE[found["kind"]])
    versions = {"ServingRuntime": "v1alpha1", "InferenceService": "v1beta1"}
    assert found["apiVersion"] == f"serving.kserve.io/{versions[found['kind']]}"
    if found["kind"] == "ServingRuntime":  # what it says of its pods is Kubernetes'
        pod = {key: found["spec"][key] for key in ("containers", "volumes")}
        metadata = {"name": "x", "annotations": found["spec"]["annotations"]}
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
            VERSION,
            strict=True,
        )


def test_the_inference_service_asks_for_the_runtime_that_is_there() -> None:
    model = document("kserve", "inferenceservice.yaml")["spec"]["predictor"]["model"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert model["protocolVersion"] in RUNTIME["spec"]["protocolVersions"]
    formats = RUNTIME["spec"]["supportedModelFormats"]
    assert model["modelFormat"] in [{k: one[k] for k in ("name", "version")} for one in formats]
    assert container(RUNTIME["spec"])["name"] == "kserve-container"
    assert container(RUNTIME["spec"])["args"][1] == "/mnt/models"  # where KServe puts `storageUri`


def test_compose_takes_it() -> None:
    schema = json.loads(Path(__file__).with_name("compose_spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    found = document("compose", "compose.yaml")
    assert not list(validator.iter_errors(found))
    found["services"]["biject"]["prots"] = []
    assert list(validator.iter_errors(found))


def test_compose_mounts_files_that_are_there_and_scrapes_the_server() -> None:
    services = document("compose", "compose.yaml")["services"]
    folder = DEPLOY / "compose"
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith(".") or (folder / source).resolve().is_file(), mount
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    build = services["biject"]["build"]
    assert (folder / build["context"] / build["dockerfile"]).is_file()
    prometheus = document("compose", "prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["biject:3000"]}]
    (rules,) = prometheus["rule_files"]
    assert any(
        mount.split(":")[1].endswith(f"/{rules}") for mount in services["prometheus"]["volumes"]
    )
