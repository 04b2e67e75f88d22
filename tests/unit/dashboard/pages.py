"""A page as a program reads it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements, addresses, handlers, ids and words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("href", "src", "xlink:href", "action", "data", "srcset", "style"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


# What a column, a category, a message or a server might hold.
PAYLOADS = (
    "<script>document.title='ran'</script>",
    "</script><script>document.title='ran'</script>",
    "</title><script>document.title='ran'</script>",
    "</style><script>document.title='ran'</script>",
    "</style><img src=x onerror=\"document.title='ran'\">",
    "<img src=x onerror=document.title='ran'>",
    '"><img src=http://example.invalid/a onerror="document.title=\'ran\'">',
    "'><svg/onload=document.title='ran'>",
    "</svg><svg onload=\"document.title='ran'\">",
    "<svg><script>document.title='ran'</script></svg>",
    "<svg><animate onbegin=document.title='ran' attributeName=x dur=1s>",
    "</text><script>document.title='ran'</script>",
    "]]><script>document.title='ran'</script>",
    "--><script>document.title='ran'</script>",
    "<!--<script>document.title='ran'</script>",
    "' onmouseover='document.title=\"ran\"' style='position:fixed;inset:0",
    '" onfocus="document.title=\'ran\'" autofocus tabindex=1 x="',
    "\" autofocus onfocus=document.title='ran' \"",
    "javascript:document.title='ran'",
    "JaVaScRiPt:document.title='ran'",
    " javascript:document.title='ran'",
    "java\tscript:document.title='ran'",
    "data:text/html,<script>document.title='ran'</script>",
    "vbscript:msgbox(1)",
    "//example.invalid/a.html",
    "http://example.invalid/<script>document.title='ran'</script>",
    "file:///etc/passwd.html",
    "../../../../etc/passwd.html",
    "/etc/passwd.html",
    "{{ 7 * 7 }}{% raw %}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "${alert(1)}#{alert(1)}",
    "<iframe src=http://example.invalid/></iframe>",
    "<iframe srcdoc=\"<script>parent.document.title='ran'</script>\">",
    "<object data=http://example.invalid/a></object><embed src=http://example.invalid/b>",
    "<link rel=stylesheet href=//example.invalid/b>",
    "<meta http-equiv=refresh content='0;url=http://example.invalid/'>",
    "<base href=http://example.invalid/>",
    "<form action=http://example.invalid/><button>go</button></form>",
    "<details open ontoggle=document.title='ran'>",
    "<video><source onerror=document.title='ran'></video>",
    "<body onload=document.title='ran'>",
    "<math><mtext></p><style><img src=x onerror=document.title='ran'>",
    "<noscript><p title=\"</noscript><img src=x onerror=document.title='ran'>\">",
    "<template><script>document.title='ran'</script></template>",
    "&lt;script&gt;document.title='ran'&lt;/script&gt;",
    "&#60;script&#62;document.title='ran'&#60;/script&#62;",
    "w" * 400,
    "日本語 \u202eabc \ud800 \x00\x08",
)
