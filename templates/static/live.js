// Updates an open page: /ws reports the time that is left, and the end of the session.
// A page without this script learns of the end at its next request.
"use strict";

const SESSION_ENDED = 4401;
const LONGEST_PAUSE = 30_000;

const notice = document.getElementById("ended");
const clocks = document.querySelectorAll("[data-time-left]");
let endsAt = null;
let pause = 1_000;
let wasOpen = false;
let isLeaving = false;

function connect() {
  const socket = new WebSocket(new URL("/ws", location.href.replace(/^http/, "ws")));
  socket.addEventListener("open", () => {
    wasOpen = true;
    pause = 1_000;
  });
  socket.addEventListener("message", (event) => {
    endsAt = performance.now() + JSON.parse(event.data).expires_in * 1_000;
    showTimeLeft();
  });
  socket.addEventListener("close", (event) => {
    if (isLeaving) return;
    if (event.code === SESSION_ENDED && event.reason !== "renewed") {
      showEnd(event.reason);
    } else {
      setTimeout(reconnect, event.reason === "renewed" ? 0 : pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  });
}

// A browser does not tell a script why a socket was refused, but it tells the status of a request
// to the same address: a 403 means that there is no session any more.
async function reconnect() {
  try {
    const answer = await fetch("/ws");
    if (answer.status === 403 && wasOpen) return location.reload();
  } catch {
    // The server cannot be reached; connect() tries again.
  }
  connect();
}

function showTimeLeft() {
  if (endsAt === null) return;
  const seconds = Math.max(0, Math.round((endsAt - performance.now()) / 1_000));
  const parts = [[Math.floor(seconds / 3_600), "h"], [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"]];
  const text = parts.filter(([count], place) => count > 0 || place === 2).map((part) => part.join(" ")).join(" ");
  for (const clock of clocks) clock.textContent = `in ${text}`;
}

function showEnd(reason) {
  endsAt = null;
  for (const part of document.querySelectorAll("main > :not(#ended), nav")) part.hidden = true;
  const title = made("h1", "Signed out");
  const text = made("p", notice.dataset[reason.replace("_", "")] ?? notice.dataset.ended, "lead");
  const login = made("a", "Log in again", "button");
  login.href = "/user/login";
  notice.replaceChildren(title, text, login);
  document.title = "Signed out · hello_tornado";
}

function made(name, text, className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

addEventListener("submit", () => { isLeaving = true; });
addEventListener("pagehide", () => { isLeaving = true; });
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
setInterval(showTimeLeft, 1_000);
connect();
