"""Language tags as people write them: what is no BCP-47 tag, and what was probably meant.

Which languages there are is not ours to say: a well-formed tag is taken, except for the handful of country codes and
names that everybody types by mistake and that mean no language at all.
"""

from __future__ import annotations

import difflib
import re

_TAG = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}"  # language, extended languages
    r"(?:-[a-z]{4})?(?:-(?:[a-z]{2}|\d{3}))?"  # script, region
    r"(?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*"  # variants
    r"(?:-[a-wyz\d](?:-[a-z\d]{2,8})+)*"  # extensions
    r"(?:-x(?:-[a-z\d]{1,8})+)?|x(?:-[a-z\d]{1,8})+)",
    re.IGNORECASE,
)
"""RFC 5646, less the languages of 4 to 8 letters: it leaves room for them and there is none."""
_NO_LANGUAGE_TABLE = (
    "by:be cn:zh cz:cs dk:da gb:en-GB ge:ka gr:el hk:zh-HK il:he ir:fa jp:ja mx:es-MX ph:fil pk:ur rs:sr sp:es ua:uk "
    "us:en-US vn:vi"
)
_NAME_TABLE = (
    "afrikaans:af albanian:sq amharic:am arabic:ar armenian:hy azerbaijani:az basque:eu belarusian:be bengali:bn "
    "bosnian:bs bulgarian:bg burmese:my cantonese:yue castilian:es catalan:ca chinese:zh croatian:hr czech:cs "
    "danish:da deutsch:de dutch:nl english:en español:es estonian:et farsi:fa filipino:fil finnish:fi français:fr "
    "french:fr galician:gl georgian:ka german:de greek:el gujarati:gu hebrew:he hindi:hi hungarian:hu icelandic:is "
    "indonesian:id irish:ga italian:it italiano:it japanese:ja kannada:kn kazakh:kk khmer:km korean:ko latvian:lv "
    "lithuanian:lt macedonian:mk malay:ms malayalam:ml mandarin:cmn marathi:mr mongolian:mn nepali:ne norwegian:no "
    "persian:fa polish:pl portuguese:pt português:pt punjabi:pa romanian:ro russian:ru serbian:sr sinhala:si "
    "slovak:sk slovenian:sl somali:so spanish:es swahili:sw swedish:sv tagalog:tl tamil:ta telugu:te thai:th "
    "turkish:tr ukrainian:uk urdu:ur uzbek:uz vietnamese:vi welsh:cy yoruba:yo zulu:zu"
)
_NO_LANGUAGE = dict(pair.split(":") for pair in _NO_LANGUAGE_TABLE.split())
"""Countries that are no languages (unlike `kr`, which is Kanuri), and the tag that was meant."""
_NAMES = dict(pair.split(":") for pair in _NAME_TABLE.split())


def language_problem(tag: str) -> str | None:
    """Why this is no language tag, with the one that was probably meant; None for one that may be right."""
    if _TAG.fullmatch(tag) and _primary(tag) not in _NO_LANGUAGE:
        return None
    meant = _meant(tag)
    return f"not a BCP-47 tag such as es, pt-BR or zh-Hant (got {tag!r})" + (
        f"; did you mean {meant!r}?" if meant else ""
    )


def _meant(tag: str) -> str | None:
    words = [word for word in re.split(r"[-_\s]+", tag.strip()) if word]
    if not words or len(words[0]) > 3:
        # Names are alike (Bosnian, Estonian): only a misspelling is near enough.
        near = difflib.get_close_matches("".join(words).lower(), _NAMES, n=1, cutoff=0.75)
        return _NAMES[near[0]] if near else None
    base = _NO_LANGUAGE.get(words[0].lower(), words[0].lower())
    # `jp-JP` is Japanese as in Japan, `us-ES` no one knows: a region is never put beside another.
    rest = [] if "-" in base else [_cased(word) for word in words[1:]]
    text = "-".join([base, *rest])
    return text if _TAG.fullmatch(text) else None


def _primary(tag: str) -> str:
    return tag.partition("-")[0].lower()


def _cased(word: str) -> str:
    """Regions are written in capitals and scripts with one: no rule, but what everyone reads."""
    return {2: word.upper(), 4: word.title()}.get(len(word), word.lower())
