export async function fetchPlaces() {
  const answer = await fetch("/data/places.json")
  if (!answer.ok) throw new Error(`no places: ${answer.status}`)
  return answer.json()
}
