// Plays the frames of a film in its page, film.html.

const frames = $frames;
const [frame, play, turn, now] = ["frame", "play", "turn", "now"].map(id => document.getElementById(id));
let playing = true;
turn.max = frames.length - 1;
function show() {
  frame.src = "data:image/png;base64," + frames[turn.value];
  now.textContent = turn.value + " of " + turn.max;
}
function pause(stop) { playing = !stop; play.textContent = stop ? "Play" : "Pause"; }
play.onclick = () => pause(playing);
turn.oninput = () => { pause(true); show(); };
setInterval(() => { if (playing) { turn.value = (Number(turn.value) + 1) % frames.length; show(); } }, $turn_ms);
show();
