// A CDS Hooks client in a browser: it discovers the services of another origin, calls the one for
// its request, shows the cards, tells what became of the first, and reports what it saw to its own
// origin. `?service=` is the base address of the service.

const base = new URLSearchParams(location.search).get("service");
const json = { "Content-Type": "application/json" };

async function post(address, content) {
  return fetch(address, { method: "POST", headers: json, body: JSON.stringify(content) });
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
  const discovered = await fetch(`${base}/cds-services`);
  const { services } = await discovered.json();
  seen.hooks = services.map((service) => service.hook);
  seen.version = discovered.headers.get("X-Rules-Version");
  const { id } = services.find((service) => service.hook === request.hook);
  const answered = await post(`${base}/cds-services/${id}`, request);
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
  const told = await post(`${base}/cds-services/${id}/feedback`, { feedback: [outcome] });
  seen.feedback = told.status;
  return seen;
}

work()
  .catch((fault) => ({ fault: String(fault) }))
  .then((seen) => post("seen", seen));
