"""Language tags: what is none is refused with what was meant, what may be one is taken."""

from __future__ import annotations

import pytest

from flows.languages import language_problem


@pytest.mark.parametrize(
    "tag",
    [
        *(
            "es",
            "pt-BR",
            "es-419",
            "zh-Hant",
            "zh-Hant-TW",
            "sr-Latn-RS",
            "cmn",
            "zh-cmn-Hans-CN",
            "de-CH-1996",
            "sl-rozaj",
        ),
        *("en-u-ca-gregory", "en-x-house", "x-klingon", "EN-us", "qaa-Qaaa-QM", "kr", "tw", "eng", "zz", "ca-valencia"),
    ],
)
def test_a_well_formed_tag_is_taken(tag: str) -> None:
    assert language_problem(tag) is None


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("en_US", "en-US"),
        ("pt_br", "pt-BR"),
        ("pt-BR ", "pt-BR"),
        ("zh_hant_tw", "zh-Hant-TW"),
        ("english", "en"),
        ("English", "en"),
        ("Spanish!", "es"),
        ("Brazilian", None),
        ("portugese", "pt"),
        ("Français", "fr"),
        ("jp", "ja"),
        ("jp-JP", "ja-JP"),
        ("cn", "zh"),
        ("cz", "cs"),
        ("ua", "uk"),
        ("gr", "el"),
        ("us", "en-US"),
        ("gb_GB", "en-GB"),
        ("english-US", "en"),
        ("Estonain", "et"),
    ],
)
def test_a_common_mistake_is_answered_with_what_was_meant(tag: str, meant: str | None) -> None:
    hint = f"; did you mean {meant!r}?" if meant else ""
    assert language_problem(tag) == f"not a BCP-47 tag such as es, pt-BR or zh-Hant (got {tag!r}){hint}"


@pytest.mark.parametrize(
    "tag", ["", "?", "e", "e-S", "es-", "es--MX", "es-MX-", "-es", "es-toolongsubtag", "12", "xyzzyx"]
)
def test_what_is_no_tag_is_refused(tag: str) -> None:
    assert language_problem(tag) is not None


def test_every_suggestion_is_itself_taken() -> None:
    from flows.languages import _NAMES, _NO_LANGUAGE

    assert [tag for tag in (*_NAMES.values(), *_NO_LANGUAGE.values()) if language_problem(tag)] == []
