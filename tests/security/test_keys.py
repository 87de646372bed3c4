"""Keys: how they are written down, shown, compared and hidden; who may do what, and how often."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.datastructures import Headers

from http_api.conftest import Served
from security.conftest import Serve
from serving.engine import Engine
from serving.errors import Forbidden, RateExceeded, ServingError, Unauthorised
from serving.security import Bucket, Caller, Key, Keyring, Redaction, is_open, keys, require_admin
from serving.settings import BadSetting, Settings

USER, OTHER, ADMIN = "user-4f6a9c01", "line-3:b64+/token==", "root.7e22~d0"
SAMPLE = "/v1/models/default/sample"


@pytest.mark.parametrize(
    ("entry", "name", "secret"),
    [
        ("abc", hashlib.sha256(b"abc").hexdigest()[:8], "abc"),
        ("line-3:b64+/x==", "line-3", "b64+/x=="),
        ("a.b_c~d-e", hashlib.sha256(b"a.b_c~d-e").hexdigest()[:8], "a.b_c~d-e"),
    ],
)
def test_a_key_is_kept_as_a_hash_under_a_name(entry: str, name: str, secret: str) -> None:
    key = Key.of(entry)
    assert (key.name, key.digest) == (name, hashlib.sha256(secret.encode()).digest())
    assert secret not in repr(key)


@pytest.mark.parametrize(
    "entry", ["", "a b", "a,b", 'a"b', "=", "bare:", "Upper:key", "a:b:c", "ä"]
)
def test_no_key_is_refused_in_words_that_do_not_tell_it(entry: str) -> None:
    with pytest.raises(ValueError, match="entry 2 is no good: it must be KEY or NAME") as caught:
        keys(("good", entry))
    assert len(entry) < 2 or entry not in str(caught.value)
    with pytest.raises(BadSetting, match="BIJECT_ADMIN_KEYS: entry 1"):
        Settings(admin_keys=(entry,))


def test_settings_hold_no_key_in_clear_text() -> None:
    settings = Settings.from_env({"BIJECT_API_KEYS": USER, "BIJECT_ADMIN_KEYS": ADMIN})
    assert USER not in repr(settings)
    assert ADMIN not in repr(settings)
    assert settings.api_keys == keys((USER,)) == keys(settings.api_keys)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_is_above_nothing_and_finite(rate: float) -> None:
    with pytest.raises(BadSetting, match="BIJECT_RATE_LIMIT must be above 0"):
        Settings(api_keys=("k",), rate_limit=rate)


def test_a_rate_without_keys_is_refused() -> None:
    with pytest.raises(BadSetting, match="BIJECT_RATE_LIMIT limits each key, and BIJECT_API_KEYS"):
        Settings(rate_limit=5, admin_keys=("root",))


@pytest.mark.parametrize(
    ("admin_keys", "headers", "error"),
    [
        ((), {}, Forbidden),
        ((), {"X-API-Key": USER}, Forbidden),
        ((ADMIN,), {}, Unauthorised),
        ((ADMIN,), {"X-API-Key": "wrong"}, Unauthorised),
        ((ADMIN,), {"X-API-Key": USER}, Forbidden),
        ((ADMIN,), {"Authorization": f"Bearer {USER}"}, Forbidden),
        ((ADMIN,), {"Authorization": f"Basic {ADMIN}"}, Unauthorised),
        ((ADMIN,), {"X-API-Key": ADMIN[:-1]}, Unauthorised),
        ((ADMIN,), {"X-API-Key": ADMIN}, None),
        ((ADMIN,), {"Authorization": f"Bearer  {ADMIN} "}, None),
        (("other", ADMIN), {"AUTHORIZATION": f"bearer {ADMIN}"}, None),
    ],
)
def test_administrators(
    admin_keys: tuple[str, ...], headers: dict[str, str], error: type[ServingError] | None
) -> None:
    settings = Settings(api_keys=(USER,), admin_keys=admin_keys)
    if error is None:
        require_admin(Headers(headers), settings)
        return
    with pytest.raises(error) as caught:
        require_admin(Headers(headers), settings)
    assert ("WWW-Authenticate" in caught.value.headers) == (error is Unauthorised)


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_refills_at_its_rate_and_says_when_to_come_back() -> None:
    clock = Clock()
    bucket = Bucket(4.0, clock)  # holds what 2 seconds bring: 8
    bucket.take(8)
    with pytest.raises(RateExceeded, match="4 images a second") as caught:
        bucket.take(8)
    assert caught.value.headers["Retry-After"] == "2"
    clock.now += 1.9  # 7.6 of the 8
    with pytest.raises(RateExceeded) as caught:
        bucket.take(8)
    assert caught.value.headers["Retry-After"] == "1"
    clock.now += 0.11
    bucket.take(8)
    clock.now += 1_000  # what is not used is not kept beyond what it holds
    bucket.take(5)
    bucket.take(3)
    with pytest.raises(RateExceeded):
        bucket.take(1)


def test_what_is_more_than_a_bucket_holds_is_owed() -> None:
    clock = Clock()
    bucket = Bucket(4.0, clock)
    bucket.take(108)  # never fits: taken when it is full, and 100 remain to be paid
    with pytest.raises(RateExceeded) as caught:
        bucket.take(1)
    assert caught.value.headers["Retry-After"] == "26"  # (100 + 1) / 4
    clock.now += 25.25
    bucket.take(1)


def test_a_slow_rate_still_lets_one_image_pass() -> None:
    clock = Clock()
    bucket = Bucket(0.1, clock)
    bucket.take(1)
    with pytest.raises(RateExceeded):
        bucket.take(1)
    clock.now += 10.01
    bucket.take(1)


def test_a_caller_pays_for_each_image_once() -> None:
    bucket = Bucket(5.0, Clock())  # holds 10
    caller = Caller("x", bucket)  # 9 left
    caller.pay(1)
    caller.pay(4)  # 5 left
    assert caller.images == 5
    bucket.take(5)
    with pytest.raises(RateExceeded):
        caller.pay(1)
    assert caller.images == 5
    with pytest.raises(RateExceeded):
        Caller("x", bucket)


def test_what_was_paid_for_nothing_is_given_back() -> None:
    bucket = Bucket(5.0, Clock())  # holds 10
    caller = Caller("x", bucket)
    caller.pay(4)  # 6 left
    caller.give_back(4)
    assert caller.images == 0
    caller.pay(3)
    caller.pay(2)
    caller.give_back(2)
    assert caller.images == 3
    bucket.take(7)  # the request has paid for 3
    with pytest.raises(RateExceeded):
        bucket.take(1)


def test_a_request_larger_than_its_bucket_passes_when_it_is_full() -> None:
    clock = Clock()
    bucket = Bucket(5.0, clock)  # holds 10
    caller = Caller("x", bucket)
    caller.pay(2)
    caller.pay(31)  # 33 in all
    with pytest.raises(RateExceeded) as caught:
        bucket.take(1)
    assert caught.value.headers["Retry-After"] == "5"  # (23 + 1) / 5
    clock.now += (23 + 9) / 5  # one less than full
    another = Caller("x", bucket)
    with pytest.raises(RateExceeded):
        another.pay(31)


def test_each_key_has_a_rate_of_its_own_and_administrators_none() -> None:
    settings = Settings(api_keys=("one", "two"), admin_keys=("root",), rate_limit=0.5)
    ring = Keyring(settings, Clock())
    assert ring.admit({b"x-api-key": b"one".decode()}).name == Key.of("one").name
    with pytest.raises(RateExceeded):
        ring.admit({b"authorization": "Bearer one"})
    ring.admit({b"x-api-key": "two"})
    for _ in range(5):
        ring.admit({b"x-api-key": "root"})


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/healthz", "/v2/health/ready", "/page/a.js"]
)
def test_some_paths_are_open(path: str) -> None:
    assert is_open(path)


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/v1/models", "/schema.json", "/livez/", "//", "/page", "/x/page/"],
)
def test_others_are_not(path: str) -> None:
    assert not is_open(path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (USER, "[a key]"),
        (f"x{USER}y/{USER}", "x[a key]y/[a key]"),
        (f'{{"path":"/v1/{ADMIN}/b"}}', '{"path":"/v1/[a key]/b"}'),
        ("key b64+/token== and", "key [a key] and"),
        (USER[:-1], USER[:-1]),
        ("short", "short"),
        ("", ""),
    ],
)
def test_a_redaction_finds_keys_wherever_they_stand(text: str, shown: str) -> None:
    settings = Settings(api_keys=(USER, OTHER, "short"), admin_keys=(ADMIN,))
    assert Redaction(settings)(text) == shown
    assert Redaction(Settings())(text) == text


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[Served]:
    with serve(api_keys=(USER, OTHER), admin_keys=(ADMIN,)) as running:
        yield running


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": "wrong"}, 401),
        ({"X-API-Key": "line-3:b64+/token=="}, 401),  # the name is no part of it
        ({"X-API-Key": "b64+/token=="}, 200),
        ({"Authorization": f"Bearer {USER}"}, 200),
        ({"X-API-Key": ADMIN}, 200),
        ({"X-API-Key": "ä".encode("latin-1").decode("latin-1")}, 401),
        ({"X-API-Key": "x" * 30_000}, 401),
    ],
)
def test_who_may_ask(guarded: Served, headers: dict[str, str], status: int) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = guarded.client.post(SAMPLE, headers=raw)
    assert answer.status_code == status
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_no_method_goes_round_the_door(guarded: Served, method: str) -> None:
    for path in ("/metrics", "/v1/models", SAMPLE, "/v1/models/default/load", "/nothing"):
        assert guarded.client.request(method, path).status_code == 401


@pytest.mark.parametrize(
    "path", ["/%2e/v1/models", "/page/../v1/models", "/livez/../metrics", "/./metrics", "//metrics"]
)
def test_no_spelling_of_a_path_does(guarded: Served, path: str) -> None:
    url = httpx.URL(f"http://127.0.0.1:{guarded.port}").copy_with(raw_path=path.encode())
    answer = guarded.client.get(url)
    assert answer.status_code in (401, 404)
    assert "biject_requests" not in answer.text
    assert "oracle" not in answer.text


def test_figures_tell_keys_by_their_names(guarded: Served) -> None:
    def figures() -> dict[tuple[str, str], float]:
        text = guarded.client.get("/metrics", headers={"X-API-Key": ADMIN}).text
        assert USER not in text
        assert "b64" not in text
        return {
            (sample.name, sample.labels.get("key", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("biject_key")
        }

    before = figures()
    guarded.client.post(SAMPLE + "?n=7", headers={"X-API-Key": "b64+/token=="})
    guarded.client.post(SAMPLE + "?n=0", headers={"X-API-Key": "b64+/token=="})
    after = figures()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["biject_key_requests_total", "line-3"] == 2
    assert grown["biject_key_images_total", "line-3"] == 7
    assert grown["biject_key_requests_total", Key.of(ADMIN).name] == 1


def test_a_key_that_has_used_up_its_rate_waits(serve: Serve) -> None:
    with serve(api_keys=("one", "two"), rate_limit=10) as running:
        one, two = {"X-API-Key": "one"}, {"X-API-Key": "two"}
        assert running.client.post(SAMPLE + "?n=60", headers=one).status_code == 200
        answer = running.client.post(SAMPLE, headers=one)
        assert answer.status_code == 429
        assert 4 <= int(answer.headers["retry-after"]) <= 5  # 40 are owed
        assert answer.json()["detail"] == "this key may have 10 images a second"
        assert running.client.post(SAMPLE, headers=two).status_code == 200
        text = running.client.get("/metrics", headers=two).text
        assert 'biject_rejections_total{reason="rate"} 1.0' in text


def test_a_key_does_not_pay_for_what_nobody_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, gate, run = threading.Event(), threading.Event(), Engine.run

    def held_up(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
        held.set()
        assert gate.wait(20)
        return run(engine, graph, inputs)

    monkeypatch.setattr(Engine, "run", held_up)
    gate.set()
    with serve(api_keys=("one", "two"), rate_limit=10, threads=1) as running:
        gate.clear()
        held.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(running.client.post, SAMPLE, headers={"X-API-Key": "two"})
            assert held.wait(20)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(
                    f"http://127.0.0.1:{running.port}{SAMPLE}?n=19",
                    headers={"X-API-Key": "one"},
                    timeout=0.5,
                )
            until(lambda: running.deployment._open == 1)
            gate.set()
            assert first.result().status_code == 200
        # A burst is 20: one is paid for having asked, nineteen were given back.
        answer = running.client.post(SAMPLE + "?n=19", headers={"X-API-Key": "one"})
        assert answer.status_code == 200
        text = running.client.get("/metrics", headers={"X-API-Key": "two"}).text
        digest = Key.of("one").name
        assert f'biject_key_images_total{{key="{digest}"}} 19.0' in text


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_without_keys_everybody_may_ask_but_not_administer(serve: Serve) -> None:
    with serve(admin_keys=(ADMIN,)) as running:
        assert running.client.post(SAMPLE).status_code == 200
        assert running.client.post(SAMPLE, headers={"X-API-Key": "whatever"}).status_code == 200
