"""The look of the page: system fonts, four sizes, light and dark."""

from client.data.look.tiles import COLOURS

_BASE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f5f6f8; --text: #1b1f24; --quiet: #57606a;
  --line: #d0d7de; --error: #d55e00; --warning: #e69f00; }
@media (prefers-color-scheme: dark) { :root { --ground: #111418; --card: #1b2026; --text: #e8eaed;
  --quiet: #a3acb6; --line: #39414a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; background: var(--ground); color: var(--text);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.125rem; margin: 2rem 0 .75rem; }
h3, dl, figcaption, small, .why { font-size: .8125rem; margin: 0; }
h3 { font-size: 1rem; }
p { margin: .25rem 0; max-width: 70ch; }
.quiet, dt, figcaption { color: var(--quiet); }
.findings { list-style: none; margin: 1rem 0; padding: 0; }
.findings li { border-left: .25rem solid var(--warning); padding: .25rem .75rem; margin: .375rem 0;
  background: var(--card); }
.findings .error { border-color: var(--error); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; margin: .5rem 0; padding: 0; }
.legend svg { width: .875rem; height: .875rem; margin-right: .375rem; vertical-align: -.125rem; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 37rem), 1fr)); }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }
.why { display: flex; flex-wrap: wrap; gap: .25rem; margin: .25rem 0; }
.why span { border: 1px solid var(--line); border-radius: 1rem; padding: 0 .5rem; }
.why .alarm { border: 2px solid var(--error); }
.stage { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-end; }
.pair { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .5rem; }
figure { margin: 0; }
.tile { position: relative; width: max-content; max-width: 100%; background: #000; }
.tile img { display: block; max-width: 100%; height: auto; }
.tile span { position: absolute; color: #fff; font-size: .8125rem; line-height: 1; padding: .125rem;
  background: #000a; }
.top { top: 0; left: 50%; } .right { right: 0; top: 50%; } .bottom { bottom: 0; left: 50%; }
.left { left: 0; top: 50%; }
.plot { width: 100%; height: 2.5rem; display: block; margin-top: .5rem; }
.ends { display: flex; justify-content: space-between; }
.plot polyline { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .75rem; margin-top: .5rem; }
dd { margin: 0; }
.c0 { stroke: var(--text); }
@media print { article { break-inside: avoid; } }
"""
STYLE = _BASE + "\n".join(
    f".c{number} {{ stroke: {colour}; fill: {colour}; }}" for number, colour in enumerate(COLOURS, 1)
)
