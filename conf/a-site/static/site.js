// The pages work without this script: it only counts characters and keeps a form from being sent twice.
const note = document.querySelector("textarea[maxlength]");
if (note) {
  const left = document.createElement("small");
  left.setAttribute("aria-live", "polite");
  note.after(left);
  const count = () => { left.textContent = `${note.maxLength - note.value.length} characters left`; };
  note.addEventListener("input", count);
  count();
}
for (const form of document.forms) {
  form.addEventListener("submit", () => { form.querySelector("button").disabled = true; });
}
// Coming back with the browser's Back button shows the page as it was left: with the button off.
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button")) button.disabled = false;
});
