"""The notebooks as their readers meet them: served as pages, opened in a browser, moved by mouse and keyboard."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pessimism as ps
from bandits.instances import five_arm, sparse
from bandits.settings import Settings
from bandits.simulate import simulate

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 90.0  # seconds to wait for anything: a busy machine of two cores may be slow, and is not wrong
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
pytest.importorskip("marimo", reason="the notebooks need marimo")
from notebooks.page import number  # noqa: E402  (it imports marimo)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found (on Debian: apt install chromium)")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of `marimo run notebooks`, with none of the user's own marimo settings."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "marimo", "run", "notebooks", "--headless", "--no-token", "--port", str(port)]
    settings = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    log = home / "marimo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | settings, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(address + "/health"):
            assert process.poll() is None, f"marimo ended:\n{log.read_text('utf-8')}"
            assert time.monotonic() < deadline, f"marimo does not answer:\n{log.read_text('utf-8')}"
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know this machine
    try:
        with direct.open(address, timeout=5):
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 1600},
        )
        context.set_default_timeout(1000 * PATIENCE)
        playwright.expect.set_options(timeout=1000 * PATIENCE)
        yield context
        context.close()


@pytest.fixture
def tab(browser) -> Iterator:
    """A new tab; at the end nothing on it may have failed, nor have asked for anything beyond this machine."""
    tab = browser.new_page()
    outside: list[str] = []
    errors: list[str] = []
    tab.on("request", lambda request: None if is_local(request.url) else outside.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    yield tab
    tab.close()
    assert (outside, errors) == ([], [])


def is_local(url: str) -> bool:
    return re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", url) is not None


def slider(tab, label: str, number: int = 0):
    """The handle of the slider with this label (the ``number``-th of that name)."""
    return tab.locator("marimo-slider", has_text=label).nth(number).get_by_role("slider")


def press(handle, key: str, times: int = 1) -> None:
    handle.focus()
    for _ in range(times):
        handle.page.keyboard.press(key)


def wait_for_row(tab, label: str, cells: list[str]) -> None:
    """Until the first table row that starts with this label has these cells behind it."""
    row = tab.locator("tr", has=tab.locator("td:first-child", has_text=re.compile(f"^{re.escape(label)}"))).first
    playwright.expect(row.locator("td:not(:first-child)")).to_have_text(cells)


def wait_for_text(tab, text: str) -> None:
    playwright.expect(tab.get_by_text(text)).to_be_visible()


def row_of(comparison: ps.Comparison, name: str) -> list[str]:
    columns = (comparison.behavior_metrics, comparison.induced_metrics, comparison.nominal_metrics)
    return [number(value) for value in (*(getattr(column, name) for column in columns), comparison.gaps[name])]


def test_the_gallery_lists_the_notebooks(server, tab):
    tab.goto(server)
    links = tab.locator("a[href*='file=']")
    playwright.expect(links).to_have_count(4)
    files = [str(link.get_attribute("href")).rpartition("file=")[2] for link in links.all()]
    assert sorted(files) == sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.py"))


def test_sliders_move_the_induced_target(server, tab):
    tab.goto(f"{server}/?file=01_induced_targets.py")
    bars, ratios = tab.locator("img[alt^='Probability']"), tab.locator("img[alt^='Ratio']")
    behavior, reward = [0.5, 0.3, 0.15, 0.05], [0.0, 0.0, 0.5, 1.0]
    start = ps.compare(ps.Bandit(behavior, reward), ps.algorithm("shifted_mean", beta=0.3, delta=0.0))
    wait_for_row(tab, "value: expected reward", row_of(start, "value"))
    first = (bars.screenshot(), ratios.screenshot())
    assert (bars.screenshot(), ratios.screenshot()) == first  # pictures that nobody touches stay the same

    press(slider(tab, "V shift"), "ArrowLeft", times=10)  # a tenth of beta each
    shifted = ps.compare(ps.Bandit(behavior, reward), ps.algorithm("shifted_mean", beta=0.3, delta=1.0))
    wait_for_row(tab, "value: expected reward", row_of(shifted, "value"))
    wait_for_row(tab, "KL(π‖μ)", row_of(shifted, "kl"))
    wait_for_text(tab, shifted.verdict[1:])
    second = (bars.screenshot(), ratios.screenshot())
    assert second[0] != first[0]
    assert second[1] != first[1]

    handle = slider(tab, "arm 3", 1)  # the reward of the best arm, dragged down to the lowest there is
    box = handle.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] - 400, box["y"] + box["height"] / 2, steps=5)
    tab.mouse.up()
    reward[3] = -1.0
    worse = ps.compare(ps.Bandit(behavior, reward), ps.algorithm("shifted_mean", beta=0.3, delta=1.0))
    wait_for_row(tab, "value: expected reward", row_of(worse, "value"))
    assert bars.screenshot() != second[0]
    assert ratios.screenshot() != second[1]


def test_the_baseline_slides_through_the_regimes(server, tab):
    tab.goto(f"{server}/?file=02_regimes.py")
    wait_for_text(tab, "positive regime):")
    curve = tab.locator("img[alt^='Ratio against advantage']")
    before = curve.screenshot()
    press(slider(tab, "(V − V*) / β"), "End")
    bandit = five_arm()
    soft_value = 0.7 * np.log(bandit.behavior @ np.exp(bandit.reward / 0.7))
    above = ps.algorithm("dro", beta=0.7, baseline=float(soft_value + 6 * 0.7))
    minima = ps.stationary_points(bandit, above)
    wait_for_text(tab, f"{len(minima)} local minima.")
    for count, point in enumerate(minima, start=1):
        arm = int(point.policy.argmax())
        values = (point.policy[arm], bandit.behavior[arm], bandit.reward[arm])
        cells = [number(point.loss), number(point.normalizer), f"arm {arm}", *map(number, values)]
        wait_for_row(tab, str(count), cells)
    wait_for_text(tab, ps.compare(bandit, above).verdict)
    assert curve.screenshot() != before


def test_lag_changes_the_simulation(server, tab):
    tab.goto(f"{server}/?file=03_lag_and_collapse.py")
    wait_for_text(tab, "100 steps")
    curves = tab.locator("img[alt^='entropy of the policy']")
    before = curves.screenshot()
    press(slider(tab, "lag, steps"), "Home")
    settings = Settings(syncs=15, lag=1, group_size=8, groups=8, learning_rate=0.5, targets=False)
    run = simulate(sparse(arms=100, rewarded=10), ps.algorithm("shifted_mean", beta=0.2), settings, range(10))
    cells = tab.locator("tr", has_text="β-shifted mean").first.locator("td")
    playwright.expect(cells.nth(1)).to_contain_text(number(run.value[-1].mean(), 3))
    playwright.expect(cells.nth(2)).to_contain_text(number(run.entropy[-1].mean(), 3))
    wait_for_text(tab, "1 step on 8 groups")
    assert curves.screenshot() != before


def test_your_own_objective_follows_its_sliders(server, tab):
    tab.goto(f"{server}/?file=04_your_own_objective.py")
    bars = tab.locator("img[alt^='Probability of every arm: behavior']")
    before = bars.screenshot()
    press(slider(tab, "beta"), "End")

    def coefficient(log_ratio, advantage):
        return 0.2 * np.tanh((advantage - 2.0 * log_ratio) / 0.2)

    wait_for_text(tab, ps.compare(five_arm(), ps.Algorithm(coefficient)).verdict)
    assert bars.screenshot() != before
    rows = tab.locator("tr", has_text="about 'yours'")
    playwright.expect(rows).to_have_count(0)
    tab.get_by_role("button", name="Check the claims").click()
    playwright.expect(rows.locator("td:nth-child(2)")).to_have_text(["holds"] * 5)
