"""The page in headless Chromium: what one types, and what one sees, at desk and phone width."""

import urllib.parse
import urllib.request

import pytest
from browser import browsing
from servers import serving
from shops import N_ITEMS, TEAS, numbered, shop, table

from softrec.serving.http.live import Deployed, Live
from softrec.serving.http.metrics import Metrics

pytestmark = pytest.mark.slow

TITLES = [f"{tea.title()} tea" for tea in TEAS]
EVIL = "<img src=x onerror=alert(1)>"
WIDTHS = {"desk": 1280, "phone": 390}


def live(service):
    return Live(Metrics(), current=Deployed(service))


@pytest.fixture(scope="module")
def interested():
    return shop("comirec-sa", catalogue=table(title=TITLES))


@pytest.fixture(scope="module")
def place(interested):
    with serving(live(interested)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(browser):
    """The page of the browser; nothing may be refused by it, fail, or be fetched elsewhere."""
    browser.events.clear()
    yield browser
    failed = [event for event in browser.complaints() if "404" not in str(event)
              and "401" not in str(event) and "422" not in str(event)]  # fmt: skip
    assert not failed
    assert all(url.startswith(("http://127.0.0.1:", "about:")) for url in browser.fetched())


def answered(page):
    page.wait("document.querySelector('#answer .list, #answer .error')"
              " && !document.querySelector('#answer[aria-busy]')")  # fmt: skip


def rows(page):
    """Return (title, score) of each row of the list that is shown."""
    titles = page.run("[...document.querySelectorAll('.list .title')].map(e => e.firstChild.data)")
    scores = page.run("[...document.querySelectorAll('.list .score')].map(e => e.firstChild.data)")
    return list(zip(titles, map(float, scores), strict=True))


def ready(page):
    page.wait("document.querySelector('#some-users button') && !about === false")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_a_user_is_typed_and_titles_scores_and_interests_are_seen(
    page, place, interested, width, dark
):
    page.open(place, WIDTHS[width], dark=dark)
    ready(page)
    page.type("#user", "u1")
    page.press("Enter")
    answered(page)
    wanted = interested.recommend("u1", 10, why=True)
    assert rows(page) == [
        (title, pytest.approx(score, rel=1e-3))
        for title, score in wanted.select("title", "score").iter_rows()
    ]
    told = page.texts(".list .why")
    assert [
        f"for interest {n + 1}" in text for n, text in zip(wanted["interest"], told, strict=True)
    ]
    found = interested.interests("u1", items=5)
    assert [text.split("\n")[0] for text in page.texts(".card")] == ["Interest 1", "Interest 2"]
    assert [*found["titles"][1]] == page.texts(".card:nth-child(2) li")
    history = interested.log.items.ids(interested.log.sequences[1]).to_list()
    assert page.text(".had") == "Last had: " + ", ".join(TITLES[TEAS.index(tea)] for tea in history)
    assert page.run("document.documentElement.scrollWidth") <= WIDTHS[width]
    assert page.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)"
    )


def test_items_are_found_while_one_types_and_chosen_by_keys_and_clicks(page, place, interested):
    page.open(place)
    ready(page)
    page.click("[value=items]")
    for letters, wanted in (("oji", "Hojicha tea hojicha"), ("EARL", "Earl Grey tea earl grey")):
        page.type("#item", letters)
        page.wait("document.querySelector('#found [role=option]')")
        assert page.texts("#found li") == [wanted]
        if letters == "oji":
            page.press("ArrowDown")
            assert page.run("document.activeElement.getAttribute('aria-activedescendant')")
            page.press("Enter")
        else:
            page.click("#found li")
        page.wait("document.querySelector('#found').hidden")
    assert [text.split("\n")[0] for text in page.texts("#chosen li")] == [
        "Hojicha tea",
        "Earl Grey tea",
    ]
    page.click("[type=submit]")
    answered(page)
    wanted = interested.recommend(None, 10, histories={"x": ["hojicha", "earl grey"]})
    assert [title for title, _ in rows(page)] == wanted["title"].to_list()
    assert page.run("document.querySelector('#item').value") == ""


def test_what_is_not_found_is_said_and_escape_closes(page, place):
    page.open(place)
    ready(page)
    page.click("[value=items]")
    page.type("#item", "coffee")
    page.wait("document.querySelector('#found .none')")
    page.press("Enter")  # chooses nothing
    page.press("Escape")
    assert page.run("document.querySelector('#found').hidden")
    assert page.texts("#chosen li") == []


def test_a_chosen_item_can_be_removed(page, place):
    page.open(f"{place}?mode=items&item=irish&item=assam")
    answered(page)
    page.click("#chosen button")
    assert [text.split("\n")[0] for text in page.texts("#chosen li")] == ["Assam tea"]
    page.run("document.querySelector('#item').focus()")
    page.press("Backspace")
    assert page.texts("#chosen li") == []


def test_an_address_says_what_to_ask(page, place, interested):
    page.open(f"{place}?mode=similar&item=irish&k=3")
    answered(page)
    assert page.text("h2") == "Similar to Irish tea"
    wanted = interested.similar("irish", 3)
    assert [title for title, _ in rows(page)] == wanted["title"].to_list()
    page.click(".list .link")  # and on to what is similar to the first of them
    page.wait(f"document.querySelector('h2').innerText === {'Similar to ' + wanted['title'][0]!r}")
    assert page.run("new URLSearchParams(location.search).get('item')") == wanted["item"][0]


def test_seen_items_may_come_if_one_says_so(page, place):
    page.open(f"{place}?user=u5")
    page.wait("document.querySelector('#answer').innerText.includes('Nothing is left')")
    page.click("#seen")
    page.click("[type=submit]")
    answered(page)
    assert len(rows(page)) == N_ITEMS


def test_rules_are_asked_for_and_refused_in_words(page, place):
    page.open(f"{place}?user=u0&where=title%20%3D%20'Irish%20tea'")
    page.wait("document.querySelector('#answer h2')")
    assert page.run("document.querySelector('#rules').open")
    assert {title for title, _ in rows(page)} <= {"Irish tea"}
    page.run("document.querySelector('#where').value = 'price > 3'")
    page.click("[type=submit]")
    page.wait("document.querySelector('#answer .error')")
    assert "no column 'price'" in page.text(".error")


def test_an_unknown_user_is_told_what_to_do(page, place):
    page.open(f"{place}?user=nobody")
    answered(page)
    assert "unknown users: 'nobody'" in page.text(".error strong")
    assert "after some items" in page.text(".error p")
    assert page.run("document.querySelector('[type=submit]').disabled") is False


def test_text_of_the_data_is_never_html(page):
    """Titles, ids and names of users that are HTML are shown as they are."""
    titles = [EVIL, *TITLES[1:]]
    service = shop("comirec-sa", catalogue=table(title=titles))
    with serving(live(service)) as port:
        place = f"http://127.0.0.1:{port}/"
        asked = urllib.parse.urlencode({"mode": "similar", "item": "assam"})
        for address in (f"?{asked}", f"?user={urllib.parse.quote(EVIL)}", "?mode=items&item=irish"):
            page.open(place + address)
            answered(page)
            assert EVIL in page.text("body")
            assert page.run("document.querySelectorAll('img').length") == 0
        page.click("[value=items]")
        page.type("#item", "<img")
        page.wait("document.querySelector('#found [role=option]')")
        assert EVIL in page.text("#found")
        assert page.run("document.querySelectorAll('img').length") == 0


def test_a_key_is_asked_for_and_used(page):
    with serving(live(shop()), key="s3cret") as port:
        page.open(f"http://127.0.0.1:{port}/")
        page.wait("!document.querySelector('#of-key').hidden")
        assert page.text("#served") == "needs a key"
        page.type("#key", "s3cret")
        page.press("Enter")
        page.wait("document.querySelector('#served').innerText.startsWith('SASRec')")
        page.type("#user", "u0")
        page.click("[type=submit]")
        answered(page)
        assert len(rows(page)) == N_ITEMS - 3
        assert "s3cret" not in page.run("location.href")


def test_a_model_without_titles_interests_or_histories(page):
    with serving(live(shop("mf", log=numbered()))) as port:
        page.open(f"http://127.0.0.1:{port}/?user=2")
        answered(page)
        assert page.texts(".card") == []
        assert all(title.isdigit() for title, _ in rows(page))
        assert page.run("document.querySelector('[value=items]').disabled")


def test_the_policy_of_the_page_allows_nothing_from_elsewhere(place):
    with urllib.request.urlopen(place) as reply:
        policy = reply.headers["content-security-policy"]
        text = reply.read().decode()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in text
    assert "<script>" not in text
    assert "style=" not in text
