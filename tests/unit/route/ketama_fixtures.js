// What the npm package hashring 3.2.0 answers to ketama_scenarios.txt. Not run by the tests; the answers are committed:
//
//   npm install hashring@3.2.0 && node ketama_fixtures.js > ketama_fixtures.inc && /usr/bin/python3 ketama_fixtures.py >> ketama_fixtures.inc
//
// A line: mode, the scenario, the number of points, and for each key (key-0 ... key-1199, then for each node that ever was "name-0" and "name-1",
// which hash onto a point) a letter for the node, '!' for the first one that was added.
const HashRing = require("hashring");
const lines = require("fs").readFileSync(__dirname + "/ketama_scenarios.txt", "utf8").trim().split("\n");
console.log("// Made by ketama_fixtures.js (npm hashring 3.2.0) and ketama_fixtures.py (uhashring 2.1): do not edit.");
for (const line of lines) {
  const [labels, replicas, ...steps] = line.split(" ");
  const ring = new HashRing([], "md5", { "vnode count": +labels, replicas: +replicas });
  const names = [];
  for (const step of steps) {
    const [name, weight] = step.slice(1).split("=");
    if (step[0] === "+") {
      ring.add({ [name]: +weight });
      if (!names.includes(name)) names.push(name);
    } else {
      ring.remove(name);
    }
  }
  const keys = [];
  for (let i = 0; i < 1200; ++i) keys.push("key-" + i);
  for (const name of names) keys.push(name + "-0", name + "-1");
  const letter = (name) => String.fromCharCode(names.indexOf(name) + (names.indexOf(name) < 1 ? 33 : names.indexOf(name) < 58 ? 34 : 35));
  console.log(`"hashring ${line}|${ring.size}|${keys.map((k) => letter(ring.get(k))).join("")}",`);
}
