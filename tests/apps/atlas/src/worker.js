const radians = (degrees) => (degrees * Math.PI) / 180

function kilometres([a, b], [c, d]) {
  const half = (angle) => Math.sin(radians(angle) / 2) ** 2
  return 12742 * Math.asin(Math.sqrt(half(c - a) + Math.cos(radians(a)) * Math.cos(radians(c)) * half(d - b)))
}

self.onmessage = ({ data: positions }) => {
  const legs = positions.map((position, index) => kilometres(position, positions[(index + 1) % positions.length]))
  self.postMessage(Math.round(legs.reduce((sum, leg) => sum + leg, 0)))
}
