#!/bin/sh
# Opens a profile report and a tuning report in headless Chromium, in a wide and in a narrow window: every plot must be
# drawn, nothing may be wider than the window, and the console must stay silent. Leaves the reports and screenshots under
# target/browser. Without a browser that is or can be installed it says so and skips.
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
# A moment of steps is enough for the plots; the numbers of a build without optimisation mean nothing.
ncps() {
    cargo run --quiet -p ncps-mlx --bin ncps -- "$@"
}
ncps tune "$root/configs/cpu.toml" --set train.batch_size=8 --batch 4,8,16 --device cpu --seconds 3 --quiet \
    --out "$work/tune" >"$work/tune.txt"
ncps profile --seconds 0.5 --quiet --tuned "$work/tune/tune.json" --out "$work/profile" >"$work/profile.txt"
mv "$work/profile/report.html" "$work/profile.html"
mv "$work/tune/tune.html" "$work/tune.html"

# The reports themselves have no script; copies with one count what was drawn. They are opened in frames, because a
# window of a browser has a least width.
python3 - "$work" <<'PYTHON'
import pathlib, sys

folder = pathlib.Path(sys.argv[1])
script = """<script>
const drawn = [...document.querySelectorAll('svg')].filter(svg => {
  const box = svg.getBoundingClientRect();
  return box.width > 300 && box.height > 100 && svg.children.length > 10;
});
const isWide = document.documentElement.scrollWidth > innerWidth;
parent.postMessage(`${location.hash.slice(1)}: ${drawn.length} drawn, wide ${isWide} at ${innerWidth}`, '*');
</script>"""
frame = '<iframe src="{source}" style="width:{width}px;height:{height}px;border:0;display:block"></iframe>'
head = '<!doctype html><html><head><link rel="icon" href="data:,"></head><body style="margin:0">'
frames = ""
for name, height in [("profile", 6000), ("tune", 2000)]:
    page = (folder / f"{name}.html").read_text()
    (folder / f"{name}-counted.html").write_text(page.replace("</body>", script + "</body>"))
    for width in [1100, 400]:
        frames += frame.format(source=f"{name}-counted.html#{name}-{width}", width=width, height=height)
        picture = head + frame.format(source=f"{name}.html", width=width, height=height) + "</body></html>"
        (folder / f"{name}-{width}-picture.html").write_text(picture)
listen = """<script>
addEventListener('message', event => { document.body.append(Object.assign(document.createElement('p'), {textContent: event.data})); });
</script>"""
(folder / "frames.html").write_text(head + listen + frames + "</body></html>")
PYTHON

# As root in a container the browser has no sandbox of its own; nothing may be fetched in the background.
open_page() {
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --virtual-time-budget=5000 \
        --user-data-dir="$work/user" --enable-logging=stderr --window-size="$2" "$3" "file://$work/$4" 2>"$work/$1.log"
}
open_page dom 1200,6000 --dump-dom frames.html >"$work/dom.html"
for size in profile-1100,6000 profile-400,6000 tune-1100,2000 tune-400,2000; do
    page=${size%,*}
    open_page "$page" "${size#*-}" "--screenshot=$work/$page.png" "$page-picture.html" >/dev/null
done

python3 - "$work" <<'PYTHON'
import pathlib, re, struct, sys

folder = pathlib.Path(sys.argv[1])
dom = (folder / "dom.html").read_text()
for name, least, height in [("profile", 3, 6000), ("tune", 1, 2000)]:
    expected = (folder / f"{name}.html").read_text().count("<svg")
    assert expected >= least, f"the {name} page has {expected} plots, expected at least {least}"
    for width in [1100, 400]:
        found = re.search(rf"<p>{name}-{width}: (\d+) drawn, wide (\w+) at (\d+)</p>", dom)
        assert found, f"the {name} page did not run to its end at {width} px"
        assert int(found[1]) == expected, f"{found[1]} of {expected} plots of the {name} page are drawn at {width} px"
        assert found[3] == str(width), f"the {name} page was {found[3]} px wide instead of {width}"
        assert found[2] == "false", f"the {name} page is wider than a window of {width} px"
        head = (folder / f"{name}-{width}.png").read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">2I", head[16:24]) == (width, height), "no screenshot"
    print(f"browser: {name}, {expected} plots drawn at 1100 and 400 px; screenshots: {folder}/{name}-*.png")
for log in folder.glob("*.log"):
    said = [line for line in log.read_text().splitlines() if "CONSOLE" in line]
    assert not said, f"the console is not silent: {said[0]}"
PYTHON
rm -rf "$work/user"
