// Looks every second whether the run has gone on, and shows it anew when it has.
"use strict";
const before = document.getElementById("state").dataset.state;
setInterval(async () => {
  try {
    const answer = await fetch("state");
    if (answer.ok && (await answer.text()) !== before) location.reload();
  } catch {
    // The site has ended.
  }
}, 1000);
