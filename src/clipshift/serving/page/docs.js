// Shows what openapi.json says.
const described = await (await fetch("openapi.json")).json();
const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

function table(rows) {
  const made = document.createElement("table");
  for (const cells of rows) {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => make("td", cell)));
    made.append(row);
  }
  return made;
}

for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const section = document.createElement("section");
    const heading = document.createElement("h2");
    heading.append(make("code", `${method.toUpperCase()} ${path}`));
    section.append(heading, make("p", operation.summary));
    const parameters = (operation.parameters ?? []).map((one) => [one.name, one.description ?? (one.schema.enum ?? []).join(", ")]);
    if (operation.requestBody?.description) parameters.push(["body", operation.requestBody.description]);
    const answers = Object.entries(operation.responses).map(([status, answer]) => [status, answer.description]);
    section.append(table(parameters), table(answers));
    document.getElementById("operations").append(section);
  }
}
document.body.dataset.ready = "yes";
