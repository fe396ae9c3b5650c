// Results come and go on the page of the app: their players with them.
new MutationObserver(bindRecordings).observe(document, { childList: true, subtree: true });

// a player is not heard from behind another tab
document.addEventListener("click", (event) => {
  if (event.target.closest("[role=tab]") && active?.player.playing) active.player.pause();
});
