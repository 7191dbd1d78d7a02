// Says what Microsoft's KQL parser makes of the texts that a line of standard input holds as JSON: a line of JSON on
// standard output. Ends with standard input.
//
// { databases: { name: { tables: { name: "(a:int, ...)" }, functions: { name: "{ body }" } } },
//   texts: [ { database, text } ], literals: [ text ], words: bool }
"use strict";

const home = "@kusto/language-service-next/";
require(home + "bridge.min.js");
require(home + "Kusto.Language.Bridge.min.js");
const { KustoCode, GlobalState, Symbols, Syntax } = Kusto.Language;

// The commands that the grammar does not know parse without an error, as one of these.
const NOT_UNDERSTOOD = ["UnknownCommand", "PartialCommand", "BadCommand"];

const typeName = (node) => Bridge.getTypeName(node).replace("Kusto.Language.Syntax.", "");
const items = (list) => (Array.isArray(list) ? list : Array.from({ length: list.Count }, (_, index) => list.getItem(index)));

function* nodes(node) {
  if (!node) return;
  yield node;
  for (let index = 0; index < node.ChildCount; index++) yield* nodes(node.GetChild(index));
}

function first(root, ...types) {
  for (const node of nodes(root)) if (types.includes(typeName(node))) return node;
  return null;
}

function problems(code) {
  const found = items(code.GetDiagnostics()).map(({ Code, Severity, Message, Start, Length }) => {
    const around = code.Text.slice(Math.max(0, Start - 20), Start + Length + 20);
    return `${Code} ${Severity}: ${Message} (at ${Start}, in \`${around}\`)`;
  });
  for (const node of nodes(code.Syntax)) {
    if (NOT_UNDERSTOOD.includes(typeName(node))) found.push(`${typeName(node)} at ${node.TextStart}`);
  }
  return found;
}

// The columns of a query, or of the query inside a command that appends its result.
function columns(code) {
  const query = code.Kind === "Query" ? code : first(code.Syntax, "PipeExpression", "DataTableExpression");
  const table = query?.ResultType;
  return table?.Columns ? items(table.Columns).map((column) => [column.Name, column.Type?.Name ?? ""]) : [];
}

function strings(code) {
  const found = [];
  for (const node of nodes(code.Syntax)) {
    if (typeName(node) === "LiteralExpression" && typeof node.LiteralValue === "string") found.push(node.LiteralValue);
  }
  return found;
}

// What a literal stands for, as text: instants and spans in ticks. This build of the parser keeps no more than the
// milliseconds of an instant.
function valueOf(node) {
  const value = node.LiteralValue === null ? null : Bridge.unbox(node.LiteralValue);
  if (value instanceof Date) return String(System.DateTime.getTicks(value));
  if (value instanceof System.TimeSpan) return String(value.getTicks());
  return value === null ? null : String(value);
}

// JSON of a dynamic literal, made of the values of its nodes.
function json(node) {
  const elements = (list) => items(list).map((element) => element.Element$1);
  switch (typeName(node)) {
    case "JsonObjectExpression":
      return `{${elements(node.Pairs).map((pair) => `${JSON.stringify(pair.Name.Value)}:${json(pair.Value)}`)}}`;
    case "JsonArrayExpression":
      return `[${elements(node.Values).map(json)}]`;
    case "PrefixUnaryExpression":
      return node.Operator.Text + json(node.Expression);
    default:
      if (typeOf(node) === "String") return JSON.stringify(node.LiteralValue);
      if (typeOf(node) === "Null") return "null";
      // A real number without a fraction stays one.
      return typeOf(node) === "Real" ? valueOf(node).replace(/^\d+$/, "$&.0") : valueOf(node);
  }
}

const typeOf = (node) => System.Enum.getName(Syntax.SyntaxKind, node.Kind).replace("LiteralExpression", "");

function literal(text) {
  const code = KustoCode.Parse("print " + text);
  const found = problems(code);
  const node = first(code.Syntax, "DynamicExpression", "LiteralExpression");
  if (node?.TextStart !== 6 || node.End !== code.Text.length) return { problems: [...found, "not one literal"] };
  const dynamic = typeName(node) === "DynamicExpression";
  return { problems: found, type: typeOf(node), value: dynamic ? json(node.Expression) : valueOf(node) };
}

function databaseOf([name, { tables, functions }]) {
  const symbols = [
    ...Object.entries(tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema, null)),
    ...Object.entries(functions).map(([name, body]) => new Symbols.FunctionSymbol.$ctor16(name, "()", body, null)),
  ];
  return new Symbols.DatabaseSymbol.$ctor1(name, symbols);
}

const isWord = (text) => /^\w+$/.test(text);

// Every word that the grammar has.
function keywords() {
  const kinds = items(System.Linq.Enumerable.from(Syntax.SyntaxFacts.GetKindsWithFixedText()).toList());
  return [...new Set(kinds.map((kind) => Syntax.SyntaxFacts.GetText(kind)))].filter(isWord);
}

function functions() {
  const { Functions, Aggregates, PlugIns } = GlobalState.Default;
  return [Functions, Aggregates, PlugIns].flatMap((list) => items(list).map((symbol) => symbol.Name)).filter(isWord);
}

function answer({ databases, texts, literals, words }) {
  const made = Object.entries(databases).map(databaseOf);
  const cluster = GlobalState.Default.WithCluster(new Symbols.ClusterSymbol.ctor("cluster", made));
  const globals = Object.fromEntries(made.map((database) => [database.Name, cluster.WithDatabase(database)]));
  return {
    texts: texts.map(({ database, text }) => {
      const code = KustoCode.ParseAndAnalyze(text, globals[database]);
      return { kind: code.Kind, problems: problems(code), columns: columns(code), strings: strings(code) };
    }),
    literals: literals.map(literal),
    keywords: words ? keywords() : [],
    functions: words ? functions() : [],
  };
}

let line = [];
process.stdin.setEncoding("utf8").on("data", (chunk) => {
  const [end, ...others] = chunk.split("\n");
  line.push(end);
  for (const start of others) {
    process.stdout.write(JSON.stringify(answer(JSON.parse(line.join("")))) + "\n");
    line = [start];
  }
});
