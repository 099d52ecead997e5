// A CDS Hooks client in a browser: it discovers the services of another origin, calls the one for
// its request, shows the cards, tells what became of the first, and reports what it saw to its own
// origin. `?service=` is the base address of the service. With `?issuer=` each call is signed, for
// the service at `?audience=`, with the key in key.json.

const given = new URLSearchParams(location.search);
const base = given.get("service");
const issuer = given.get("issuer");
const json = { "Content-Type": "application/json" };

function base64url(bytes) {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function token(path) {
  const jwk = await (await fetch("key.json")).json();
  const curve = { name: "ECDSA", namedCurve: "P-384" };
  const key = await crypto.subtle.importKey("jwk", jwk, curve, false, ["sign"]);
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: issuer,
    aud: given.get("audience") + path,
    iat: now,
    exp: now + 300,
    jti: crypto.randomUUID(),
  };
  const write = (part) => base64url(new TextEncoder().encode(JSON.stringify(part)));
  const signed = `${write({ alg: "ES384", typ: "JWT", kid: jwk.kid })}.${write(claims)}`;
  const how = { name: "ECDSA", hash: "SHA-384" };
  const signature = await crypto.subtle.sign(how, key, new TextEncoder().encode(signed));
  return `${signed}.${base64url(signature)}`;
}

async function call(path, content) {
  const headers = content === undefined ? {} : { ...json };
  if (issuer) headers.Authorization = `Bearer ${await token(path)}`;
  const method = content === undefined ? "GET" : "POST";
  return fetch(base + path, { method, headers, body: JSON.stringify(content) });
}

function show(card) {
  const shown = document.createElement("li");
  shown.className = card.indicator;
  shown.textContent = card.summary;
  document.getElementById("cards").append(shown);
}

async function work() {
  const seen = {};
  const request = await (await fetch("request.json")).json();
  if (issuer) seen.unsigned = (await fetch(`${base}/cds-services`)).status;
  const discovered = await call("/cds-services");
  const { services } = await discovered.json();
  seen.hooks = services.map((service) => service.hook);
  seen.version = discovered.headers.get("X-Rules-Version");
  const { id } = services.find((service) => service.hook === request.hook);
  const answered = await call(`/cds-services/${id}`, request);
  const { cards } = await answered.json();
  cards.forEach(show);
  seen.shown = [...document.querySelectorAll("#cards li")].map((card) => [
    card.className,
    card.textContent,
  ]);
  const outcome = {
    card: cards[0].uuid,
    outcome: "overridden",
    overrideReason: { reason: cards[0].overrideReasons[0] },
    outcomeTimestamp: new Date().toISOString(),
  };
  const told = await call(`/cds-services/${id}/feedback`, { feedback: [outcome] });
  seen.feedback = told.status;
  return seen;
}

work()
  .catch((fault) => ({ fault: String(fault) }))
  .then((seen) => fetch("seen", { method: "POST", body: JSON.stringify(seen) }));
