const find = (id) => document.getElementById(id);

// A WebSocket does not connect again by itself: wait a little longer each time, and never all at the same moment.
let socket = null;
let wait = 500;
function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/chat`);
  socket.addEventListener("open", () => {
    wait = 500;
    find("said").replaceChildren();
    find("send").disabled = false;
  });
  socket.addEventListener("message", (event) => {
    const told = JSON.parse(event.data);
    if (told.kind === "count") {
      find("state").textContent = told.count === 1 ? "only you" : `${told.count} visitors`;
    } else {
      show(told);
    }
  });
  socket.addEventListener("close", () => {
    find("send").disabled = true;
    find("state").textContent = "connecting …";
    setTimeout(connect, wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, 15000);
  });
}

function show(told) {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = told.name;
  line.append(name, ` ${told.text}`);
  line.title = new Date(told.at).toLocaleString();
  find("said").append(line);
  find("said").scrollTop = find("said").scrollHeight;
}

find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send(JSON.stringify({ name: find("name").value, text: find("text").value }));
  find("text").value = "";
});
connect();
