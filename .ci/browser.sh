#!/bin/sh
# Opens a profile report in headless Chromium: every plot must be drawn and the console must stay silent. Leaves the
# report and a screenshot under target/browser. Without a browser that is or can be installed it says so and skips.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/browser

find_browser() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" && return
    done
    return 1
}

skip() {
    echo "browser: skipped, $1"
    exit 0
}

if ! find_browser >/dev/null; then
    command -v apt-get >/dev/null || skip "there is no Chromium and no apt-get to install it"
    [ "$(id -u)" = 0 ] || skip "there is no Chromium, and only root can install it (apt-get install chromium)"
    echo "browser: installing Chromium from the system's packages"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } \
        >"$work.log" 2>&1 || skip "apt-get could not install Chromium: $(tail -n 1 "$work.log")"
fi
browser=$(find_browser)

rm -rf "$work"
mkdir -p "$work"
# Half a second of steps is enough for the plots; the numbers of a build without optimisation mean nothing.
cargo run --quiet -p ncps-mlx --bin ncps -- profile --seconds 0.5 --quiet --out "$work/report" >"$work/report.txt"

# The report itself has no script; a copy with one counts what was drawn.
python3 - "$work" <<'PYTHON'
import pathlib, sys

folder = pathlib.Path(sys.argv[1])
page = (folder / "report/report.html").read_text()
script = """<script>
const drawn = [...document.querySelectorAll('svg')].filter(svg => {
  const box = svg.getBoundingClientRect();
  return box.width > 300 && box.height > 100 && svg.children.length > 10;
});
document.body.dataset.drawn = drawn.length;
document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
</script>"""
(folder / "counted.html").write_text(page.replace("</body>", script + "</body>"))
PYTHON

# As root in a container the browser has no sandbox of its own; nothing may be fetched in the background.
open_page() {
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/user-$1" --enable-logging=stderr --window-size=1100,5200 "$2" "file://$3" \
        2>"$work/$1.log"
}
open_page dom --dump-dom "$work/counted.html" >"$work/dom.html"
open_page picture "--screenshot=$work/screenshot.png" "$work/report/report.html" >/dev/null

python3 - "$work" <<'PYTHON'
import pathlib, re, struct, sys

folder = pathlib.Path(sys.argv[1])
dom = (folder / "dom.html").read_text()
expected = (folder / "report/report.html").read_text().count("<svg")
found = re.search(r'data-drawn="(\d+)"', dom)
assert found, "the page did not run to its end"
assert expected >= 2, f"the report has {expected} plots, expected at least 2"
assert int(found[1]) == expected, f"{found[1]} of {expected} plots are drawn"
assert 'data-wide="false"' in dom, "the page is wider than the window"
for name in ["dom", "picture"]:
    said = [line for line in (folder / f"{name}.log").read_text().splitlines() if "CONSOLE" in line]
    assert not said, f"the console is not silent: {said[0]}"
head = (folder / "screenshot.png").read_bytes()[:24]
assert head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">2I", head[16:24]) == (1100, 5200), "no screenshot"
print(f"browser: {expected} plots drawn, console silent; screenshot: {folder / 'screenshot.png'}")
PYTHON
rm -rf "$work/user-dom" "$work/user-picture"
