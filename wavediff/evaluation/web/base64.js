"use strict";

/** The bytes of a base64 text; fetching a data: URL would need the network's permission. */
function bytesOf(base64) {
  return Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0));
}
