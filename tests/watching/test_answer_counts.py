"""Answers added up together are what they are one by one."""

import random
import threading

from prometheus_client import CollectorRegistry, Histogram

from serving.answer_counts import SECONDS, AnswerCounts, Answered


def figures(registry: CollectorRegistry) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples by name and labels' values."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in registry.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_histograms_are_as_the_library_would_have_them() -> None:
    chance = random.Random(1)
    times = [*SECONDS, *(chance.expovariate(3) for _ in range(700)), 0.0, 31.0, 1e9]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = AnswerCounts(ours)
    wanted = Histogram(
        "biject_request_seconds", "x", ["model", "verb"], buckets=SECONDS, registry=theirs
    )
    for seconds in times:
        counts.add(Answered("m", "encode", 200, seconds, seconds / 2))
        wanted.labels("m", "encode").observe(seconds)
    counts.settle()
    found = figures(ours)
    for name, samples in figures(theirs).items():
        for labels, value in samples.items():
            assert abs(found[name][labels] - value) <= 1e-9 * abs(value), (name, labels)
    assert found["biject_queue_seconds_count"]["m", "encode"] == len(times)


def test_each_answer_counts_where_it_belongs() -> None:
    registry = CollectorRegistry()
    counts = AnswerCounts(registry)
    counts.add(Answered("m", "encode", 200, 0.1, 0.0, key="a", images=5))
    counts.add(Answered("m", "encode", 200, 0.1, 0.0, key="b", images=1))
    counts.add(Answered("m", "encode", 429, 0.1, None, reason="rate", key="a"))
    counts.add(Answered("", "", 401, 0.1, None, reason="no_key"))
    counts.add(Answered("", "", 404, 0.1))
    counts.settle()
    found = figures(registry)
    assert found["biject_requests_total"] == {
        ("m", "encode", "200"): 2,
        ("m", "encode", "429"): 1,
        ("", "", "401"): 1,
        ("", "", "404"): 1,
    }
    assert found["biject_rejections_total"] == {("rate",): 1, ("no_key",): 1}
    assert found["biject_key_requests_total"] == {("a",): 2, ("b",): 1}
    assert found["biject_key_images_total"] == {("a",): 5, ("b",): 1}
    assert found["biject_request_seconds_count"] == {("m", "encode"): 3}
    assert found["biject_queue_seconds_count"] == {("m", "encode"): 2}


def test_none_is_lost_while_others_look() -> None:
    registry = CollectorRegistry()
    counts = AnswerCounts(registry)
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            counts.settle()

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for thread in lookers:
        thread.start()
    for _ in range(20_000):
        counts.add(Answered("m", "encode", 200, 0.1))
    over.set()
    for thread in lookers:
        thread.join()
    counts.settle()
    assert figures(registry)["biject_requests_total"] == {("m", "encode", "200"): 20_000}


def test_they_do_not_pile_up() -> None:
    registry = CollectorRegistry()
    counts = AnswerCounts(registry)
    for _ in range(10_000):
        counts.add(Answered("m", "encode", 200, 0.1))
    assert len(counts._waiting) < 1_000
