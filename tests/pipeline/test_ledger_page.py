"""What pages say of claims: the ledger, the role, the tally, and the mark of the first edition."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from staged_books import CLAIMS, GATES, RECORD, context, put_run, source, staged, text

from pipeline import UserError, pages, stage


def test_what_prose_says_of_a_claim_comes_from_the_record(root: Path) -> None:
    about = context(root)

    def said(mark: str) -> str:
        return pages.fill(f"So: {{claim}}`{mark}`.", about)

    assert said("02-does-not-saturate") == (
        "So: {ref}`1 against 0 per logit, 5 seeds: supported <claim-02-does-not-saturate>`.")
    assert said("02-does-not-saturate:value") == "So: 1 per logit."
    assert said("02-does-not-saturate:control") == "So: 0 per logit."
    assert said("02-does-not-saturate:verdict") == "So: supported."
    assert "95 % interval" in said("02-does-not-saturate:effect")
    assert said("01-loss-equals-formula:control") == "So: (none)."
    assert "check passed" in said("01-loss-equals-formula")
    assert said("08-people-like-it") == "So: {ref}`not recorded yet <claim-08-people-like-it>`."
    record = json.loads((root / "book/reference/cpu/01_objectives.json").read_text())
    del record["edition"]
    (root / "book/reference/cpu/01_objectives.json").write_text(json.dumps(record))
    assert "supported, first edition" in pages.fill("{claim}`02-does-not-saturate`", context(root))


@pytest.mark.parametrize(("mark", "message"), [
    ("02-does-not-satturate", "there is no such claim. Did you mean 02-does-not-saturate"),
    ("nothing", "there is no such claim. They are in book/claims.yml"),
    ("", "there is no such claim"),
    ("02-does-not-saturate:colour", "there are value, control, effect, verdict"),
])
def test_a_role_without_its_claim_is_named(root: Path, mark: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        pages.fill(f"So: {{claim}}`{mark}`.", context(root))


def test_a_role_without_its_claim_fails_the_build(root: Path) -> None:
    notebook = source()
    notebook.cells[0].source += " {claim}`09-none`"
    nbformat.write(notebook, root / "notebooks" / "01_objectives.ipynb")
    with pytest.raises(UserError, match="there is no such claim"):
        stage.stage("cpu", root=root)


def claim_block(page: str, claim: str) -> str:
    """What the ledger says of one claim."""
    return re.search(rf"\(claim-{claim}\)=\n::::(.*?)\n::::", page, re.DOTALL)[1]


def test_the_ledger_says_of_every_claim_whose_it_is_what_was_asked_and_what_came_out(root: Path) -> None:
    put_run(root)
    page = pages.ledger_pages(context(root))
    block = claim_block(page, "02-does-not-saturate")
    classes = "verdict-supported source-paper data-simulated chapter-01-objectives"
    assert block.startswith(f"{{container}} medgan-claim {classes}")
    assert "A paper says so: {cite:t}`goodfellow2014`, Sec. 3." in block
    assert "Asked for beforehand: at least 0.5 per logit more than Eq. 1." in block
    assert "Is it on? (accuracy of D: between 0.55 and 0.95)" in block
    assert "At `cpu`, 5 seeds on simulated data" in block
    assert "1 against 0 per logit, +1 per logit, 95 % interval +0.912 to +1.09." in block
    assert "seed 0: 0.250 against 0 per logit; it does not meet the criterion, which is no verdict." in block
    check = claim_block(page, "01-loss-equals-formula")
    assert "verdict-checks-of-the-code" in check and "check passed" in check
    assert page.index("(claim-02-") < page.index("**Checks.**") < page.index("(claim-01-loss")
    untested = claim_block(page, "08-people-like-it")
    assert "needs readers" in untested and "verdict-not-testable-here" in untested
    assert "A question of this book, on the review's Sec. 2.1." in untested


def test_the_filters_offer_every_class_that_a_claim_has(root: Path) -> None:
    page = pages.ledger_pages(context(root))
    offered = set(re.findall(r'<option value="([\w-]+)"', page))
    classes = " ".join(re.findall(r"\{container\} (.*)", page))
    has = set(re.findall(r"\b(?:verdict|source|data|chapter)-[\w-]+", classes))
    assert has and has <= offered


def test_a_shut_gate_is_said_with_its_reason(root: Path) -> None:
    path = root / "book/reference/cpu/01_objectives.json"
    record = json.loads(path.read_text())
    record["claims"]["game-is-on"]["value"] = [0.5] * 5
    path.write_text(json.dumps(record))
    block = claim_block(pages.ledger_pages(context(root)), "02-does-not-saturate")
    assert "verdict-not-testable-here" in block and "It is off. accuracy of D: 0.500 (median)" in block
    assert "not testable here</span> 1 <" in pages.verdicts(context(root))


def test_stale_marks_follow_the_fingerprint(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.pages.context.record_fingerprint", lambda *_: "abc")
    assert 'class="stale"' not in pages.ledger_pages(context(root)) + pages.verdicts(context(root))
    monkeypatch.setattr("pipeline.pages.context.record_fingerprint", lambda *_: "other")
    for part in (pages.ledger_pages, pages.verdicts, pages.status):
        assert 'class="stale"' in part(context(root)), part


def test_the_criterion_changed_after_the_record_is_said(root: Path) -> None:
    (root / "book" / "claims.yml").write_text(CLAIMS.replace("smallest_effect: 0.5", "smallest_effect: 5"))
    assert "the criterion changed since" in pages.ledger_pages(context(root))


def test_the_front_page_counts_claims_and_leaves_checks_out(root: Path) -> None:
    counted = pages.verdicts(context(root))
    assert "**1 claim so far: 1 supported.**" in counted
    assert re.search(r"Objectives.*\| 1 \|.*supported</span> 1 .*check passed</span> 1 \(5 seeds at `cpu`\)", counted)
    assert re.search(r"Wasserstein.*\| 1 \|.*first edition</span>", counted)
    assert "1 supported" in pages.forest(context(root), "01_objectives"), "bounds have no place on a scale of effects"


@pytest.mark.parametrize("what", ["notebook", "record"])
def test_the_first_edition_is_marked_and_in_no_tally(root: Path, what: str) -> None:
    if what == "notebook":
        notebook = source()
        del notebook.metadata["edition"]
        nbformat.write(notebook, root / "notebooks" / "01_objectives.ipynb")
    else:
        path = root / "book/reference/cpu/01_objectives.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "edition"}))
    about = context(root)
    assert not pages.tally(about) and "so far" not in pages.verdicts(about)
    if what == "notebook":
        assert "First edition" in text(staged(root))
        assert re.search(r"Objectives.*\| 1 \|.*first edition</span> \|", pages.verdicts(about))
    else:
        assert 'first edition</span>: 1 against 0' in pages.ledger_pages(about)


def test_what_the_first_edition_measured_on_public_data_is_kept(root: Path) -> None:
    folder = root / "book" / "reference" / "first_edition"
    folder.mkdir()
    old = {key: value for key, value in RECORD.items() if key != "edition"} | {"profile": "real", "seeds": [0, 1, 2]}
    old["claims"] = {"02-does-not-saturate": {"value": [0.3] * 3, "control": [0.1] * 3, "verdict": "supported"}}
    (folder / "01_objectives.json").write_text(json.dumps(old))
    block = claim_block(pages.ledger_pages(context(root)), "02-does-not-saturate")
    assert re.search(r"On public data, 3 seeds .*first edition</span>: 0.300 against 0.100 per logit", block)
    assert "no verdict" in block


def test_the_record_of_a_profile_at_which_a_claim_is_measured_speaks_for_it(root: Path) -> None:
    """A claim of the full scale is not "not testable here" because there is a record of a smaller one."""
    claims = CLAIMS.replace("gate: game-is-on", "gate: game-is-on, profiles: [full]").replace(
        "check: true", "check: true, profiles: [full]")
    (root / "book" / "claims.yml").write_text(claims)
    about = context(root)
    assert "not testable here" in claim_block(pages.ledger_pages(about), "02-does-not-saturate")
    assert pages.tally(about) == {"not testable here": 1}, "a check that was not made counts as no claim"
    (root / "book" / "reference" / "full").mkdir()
    (root / "book" / "reference" / "full" / "01_objectives.json").write_text(json.dumps(RECORD | {"profile": "full"}))
    about = context(root)
    assert "verdict-supported" in claim_block(pages.ledger_pages(about), "02-does-not-saturate")
    assert pages.tally(about) == {"supported": 1, "check passed": 1}
    assert pages.fill("{claim}`02-does-not-saturate:verdict`", about) == "supported"


def test_text_of_claims_is_shown_as_it_is(root: Path) -> None:
    odd = "D* beats *all* D for p<q and <b>, {claim}[x](y) | 5 #1"
    (root / "book" / "claims.yml").write_text(CLAIMS.replace("Eq. 2 keeps its gradient.", json.dumps(odd)))
    block = claim_block(pages.ledger_pages(context(root)), "02-does-not-saturate")
    shown = re.search(r"\*\*(.*)\*\* <span", block)[1]
    assert re.sub(r"\\(.)", r"\1", shown) == odd
    assert not re.search(r"(?<!\\)[*<>{}\[\]|#]", shown)


def test_a_context_refuses_a_gate_that_names_nothing(root: Path) -> None:
    (root / "book" / "gates.yml").write_text(GATES.replace("game-is-on", "game-is-off"))
    with pytest.raises(ValueError, match="there is no gate 'game-is-on'"):
        pages.ledger_pages(context(root))
