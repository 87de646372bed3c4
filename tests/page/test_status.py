"""Status: what the server counts is what is shown, and it is live."""

import httpx
from playwright.sync_api import expect

from http_api.conftest import Served
from page.conftest import OpenTab


def test_models_and_their_states(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#status")
    rows = page.locator("table tbody tr")
    expect(rows).to_have_count(7)
    said = [row.split("\t") for row in rows.all_inner_texts()]
    assert ["fashion", "1", "ready", "cpu"] in said
    assert [row[1] for row in said if row[0] == "grey"] == ["1", "2"]


def test_figures_follow_the_traffic(open_tab: OpenTab, server: Served, url: str) -> None:
    page = open_tab(f"{url}#status")
    gauge = page.locator(".gauge", has_text="images computed a second").locator("strong")
    expect(gauge).to_have_text("0", timeout=15_000)  # nobody asks for anything
    for _ in range(5):
        answer = server.client.get("/v1/models/oracle/sample", params={"n": 64})
        assert answer.status_code == 200
    page.wait_for_function("() => Number(document.querySelector('.gauge strong').textContent) > 20")
    chart = page.locator("figure", has_text="oracle decode")
    expect(chart.locator("li")).to_have_count(9)
    counts = [int(text.split()[-2]) for text in chart.locator("li .unseen").all_text_contents()]
    bars = chart.locator(".bar").all()
    heights = [bar.evaluate("bar => bar.getBoundingClientRect().height") for bar in bars]
    assert [height > 0 for height in heights] == [count > 0 for count in counts]
    figures = httpx.get(f"{url}metrics").text
    (line,) = [
        line
        for line in figures.splitlines()
        if line.startswith('biject_batch_rows_count{graph="decode",model="oracle"}')
    ]
    assert sum(counts) == float(line.split()[-1])


def test_labels_and_numbers_of_prometheus_are_read(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#status")
    text = (
        '# HELP a b\\na{x="1,}",y="\\\\"q\\\\\\\\\\\\n"} 2.5\\na 1e3 17\\nb_bucket{le="+Inf"} 3\\n'
    )
    found = page.evaluate(
        f"""async () => {{
          const {{ parse, total }} = await import("/page/prometheus.js");
          const samples = parse('{text}');
          return [samples.get("a"), total(samples, "a"), samples.get("b_bucket")[0].labels.le];
        }}"""
    )
    assert found == [
        [
            {"labels": {"x": "1,}", "y": '"q\\\n'}, "value": 2.5},
            {"labels": {}, "value": 1000},
        ],
        1002.5,
        "+Inf",
    ]
