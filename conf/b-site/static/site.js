const find = (id) => document.getElementById(id);

// Ticks: an EventSource connects again by itself when a stream ends, so it is closed when the server says "done".
let stream = null;
function stopTicks() {
  stream?.close();
  stream = null;
  find("start").disabled = false;
  find("stop").disabled = true;
}
find("stop").addEventListener("click", stopTicks);
find("start").addEventListener("click", () => {
  find("ticks").replaceChildren();
  find("progress").value = 0;
  find("start").disabled = true;
  find("stop").disabled = false;
  stream = new EventSource("/ticks?n=10");
  stream.addEventListener("message", (event) => {
    const tick = JSON.parse(event.data);
    find("progress").max = tick.of;
    find("progress").value = tick.tick;
    const line = document.createElement("li");
    line.textContent = `${tick.time}  process ${tick.process}`;
    find("ticks").append(line);
    find("ticks").scrollTop = find("ticks").scrollHeight;
  });
  stream.addEventListener("done", stopTicks);
  stream.addEventListener("error", stopTicks);
});

find("file").addEventListener("change", async () => {
  const file = find("file").files[0];
  if (!file) return;
  find("hash").textContent = `Sending ${file.name} …`;
  try {
    const answer = await fetch("/sha256", { method: "POST", body: file });
    const facts = await answer.json();
    find("hash").textContent = answer.ok
      ? `${file.name}\n${facts.size_bytes.toLocaleString()} bytes\nSHA-256 ${facts.sha256}`
      : `${answer.status} ${facts.error}`;
  } catch {
    find("hash").textContent = "The server did not take the file (too large, or it went away).";
  }
});

async function showState() {
  try {
    find("state").textContent = await (await fetch("/state.json")).text();
  } catch {
    find("state").textContent = "The server does not answer.";
  }
}
find("ask").addEventListener("click", showState);
showState();
