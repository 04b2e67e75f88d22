(function () {
  var shown = document.getElementById("age");
  if (!shown) { return; }
  var written = Date.parse(shown.getAttribute("data-written"));
  var due = Date.parse(shown.getAttribute("data-due") || "");
  var served = location.protocol.indexOf("http") === 0;
  function since(seconds) {
    if (seconds < 60) { return "just now"; }
    if (seconds < 5400) { return Math.floor(seconds / 60) + " min ago"; }
    if (seconds < 172800) { return Math.floor(seconds / 3600) + " h ago"; }
    return Math.floor(seconds / 86400) + " days ago";
  }
  function reloaded() {
    try {
      var before = sessionStorage.getItem("keepfit");
      sessionStorage.setItem("keepfit", String(written));
      return before === String(written);
    } catch (error) { return true; }
  }
  function show() {
    var now = Date.now(), old = due && now > due;
    shown.textContent = ", " + since((now - written) / 1000);
    // What somebody reads is not taken away; what is old after a reload is old.
    if (served && due && now > written + 120000 && !document.querySelector("details[open]") &&
        document.visibilityState === "visible" && !reloaded()) { location.reload(); return; }
    document.getElementById("old").hidden = !old;
  }
  show();
  setInterval(show, 15000);
})();
