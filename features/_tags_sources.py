"""Where visits come from: the class of a campaign's parameters, a referrer's host or a message's channel."""

import re

SEARCH, SOCIAL, DIRECT, EMAIL, ADS, REFERRAL = "search", "social", "direct", "email", "ads", "referral"
_PAID = re.compile(r"\b(cpc|ppc|cpm|cpv|paid\w*|display|banners?|retargeting|remarketing|ads?|affiliates?)\b")
_MEDIA = {
    "email": EMAIL, "e-mail": EMAIL, "e_mail": EMAIL, "mail": EMAIL, "newsletter": EMAIL, "organic": SEARCH,
    "search": SEARCH, "social": SOCIAL, "social-media": SOCIAL, "social_media": SOCIAL, "sm": SOCIAL,
    "sms": "sms", "push": "web_push", "web_push": "web_push", "mobile_push": "mobile_push",
    "referral": REFERRAL,
}  # fmt: skip
_MAILS = ("mail.google.com", "outlook.", "mail.yahoo.", "webmail.", "mail.", "com.google.android.gm")
_HOSTS = {
    SEARCH: ("google", "bing", "duckduckgo", "yahoo", "ecosia", "baidu", "yandex", "qwant", "startpage",
             "seznam", "naver", "brave"),
    SOCIAL: ("facebook", "fb", "instagram", "t.co", "twitter", "x.com", "linkedin", "lnkd", "pinterest",
             "pin.it", "reddit", "tiktok", "youtube", "youtu.be", "whatsapp", "wa.me", "telegram", "t.me",
             "snapchat", "threads", "mastodon", "vk.com", "xing"),
}  # fmt: skip


def source_class(
    source: str | None, medium: str | None, paid: bool, referrer: str | None, channel: str | None
) -> str:
    """Return ads, email, sms, web_push, mobile_push, search, social, referral or direct.

    By the first of these that tells: the channel of a message clicked; an advertiser's click id (`paid`) or a
    paid medium; the campaign's medium and source; the referrer's host, None where it is the page's own.
    """
    if channel:
        return channel
    medium, source = (medium or "").lower(), (source or "").lower()
    if paid or _PAID.search(medium):
        return ADS
    for word in (medium, source):
        if word in _MEDIA:
            return _MEDIA[word]
    told = _of_host(source) if source else None
    return told or (_of_host(referrer) if referrer else None) or (REFERRAL if source or referrer else DIRECT)


def _of_host(host: str) -> str | None:
    if host.startswith(_MAILS):
        return EMAIL
    labels = host.split(".")
    for kind, names in _HOSTS.items():
        if any(name in labels or host == name or host.endswith(f".{name}") for name in names):
            return kind
    return None
