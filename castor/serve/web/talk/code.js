/** The shown chat as a program: curl, Python with google-genai, JavaScript with @google/genai. */

const place = () => new URL('.', document.baseURI).href.replace(/\/$/, '');
const quoted = (value) => JSON.stringify(value);

/** A medium as the name of a file that the reader has. */
const fileName = (part, names) => names.get(part.inlineData.data) ?? 'file.bin';

const snake = (name) => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

/** JSON values as Python literals. */
function python(value, indent = '') {
  const deeper = `${indent}    `;
  if (value === null) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value !== 'object') return quoted(value);
  const list = Array.isArray(value);
  const items = list
    ? value.map((v) => python(v, deeper))
    : Object.entries(value).map(([k, v]) => `${quoted(k)}: ${python(v, deeper)}`);
  const [open, close] = list ? '[]' : '{}';
  if (items.join(', ').length < 60 && !items.some((i) => i.includes('\n'))) {
    return `${open}${items.join(', ')}${close}`;
  }
  return `${open}\n${items.map((i) => `${deeper}${i},\n`).join('')}${indent}${close}`;
}

function pythonPart(part, names) {
  if (part.inlineData) {
    const { mimeType } = part.inlineData;
    const read = `open(${quoted(fileName(part, names))}, "rb").read()`;
    return `types.Part.from_bytes(data=${read}, mime_type=${quoted(mimeType)})`;
  }
  if (part.text !== undefined) return `types.Part(text=${quoted(part.text)})`;
  return `types.Part.model_validate(${python(part, '        ')})`;
}

function pythonConfig(body) {
  const config = Object.entries(body.generationConfig ?? {}).map(
    ([k, v]) => `${snake(k)}=${python(v, '    ')}`,
  );
  const system = body.systemInstruction?.parts[0].text;
  if (system) config.unshift(`system_instruction=${quoted(system)}`);
  if (body.tools) config.push(`tools=${python(body.tools, '    ')}`);
  return config;
}

/** @returns {string} a program for google-genai */
export function pythonCode(model, body, { key, names }) {
  const contents = body.contents.map(({ role, parts }) => {
    const inner = parts.map((part) => `        ${pythonPart(part, names)},\n`).join('');
    return `    types.Content(role=${quoted(role)}, parts=[\n${inner}    ]),\n`;
  });
  const config = pythonConfig(body);
  const made = config.length
    ? `config = types.GenerateContentConfig(\n${config.map((c) => `    ${c},\n`).join('')})\n`
    : 'config = None\n';
  return `from google import genai
from google.genai import types

client = genai.Client(
    api_key=${quoted(key)},
    http_options={"base_url": ${quoted(place())}},
)
contents = [
${contents.join('')}]
${made}
answer = client.models.generate_content_stream(
    model=${quoted(model)}, contents=contents, config=config
)
for chunk in answer:
    print(chunk.text or "", end="", flush=True)
`;
}

/** JSON with each medium's data replaced by an expression. */
function withFiles(value, names, expression) {
  const marks = [];
  const text = JSON.stringify(
    value,
    (_, v) => {
      if (!v?.inlineData) return v;
      marks.push(expression(fileName(v, names)));
      return { inlineData: { ...v.inlineData, data: `@@${marks.length - 1}@@` } };
    },
    2,
  );
  return text.replace(/"@@(\d+)@@"/g, (_, i) => marks[Number(i)]);
}

/** @returns {string} a program for @google/genai */
export function scriptCode(model, body, { key, names }) {
  const contents = withFiles(
    body.contents,
    names,
    (name) => `readFileSync(${quoted(name)}, 'base64')`,
  );
  const config = {
    ...(body.systemInstruction && { systemInstruction: body.systemInstruction.parts[0].text }),
    ...body.generationConfig,
    ...(body.tools && { tools: body.tools }),
  };
  const files = contents.includes('readFileSync(')
    ? "import { readFileSync } from 'node:fs';\n"
    : '';
  return `import { GoogleGenAI } from '@google/genai';
${files}
const client = new GoogleGenAI({
  apiKey: ${quoted(key)},
  httpOptions: { baseUrl: ${quoted(place())} },
});
const answer = await client.models.generateContentStream({
  model: ${quoted(model)},
  contents: ${contents.replaceAll('\n', '\n  ')},
  config: ${JSON.stringify(config, null, 2).replaceAll('\n', '\n  ')},
});
for await (const chunk of answer) process.stdout.write(chunk.text ?? '');
`;
}

/** @returns {string} a command line */
export function curlCode(model, body, { key, names }) {
  const reading = (name) => `"'"$(base64 < ${shell(name)} | tr -d '\\n')"'"`;
  const plain = withFiles(body, names, (name) => `@@${name}@@`);
  const data = plain
    .replaceAll("'", String.raw`'\''`)
    .replace(/@@(.+?)@@/g, (_, name) => reading(name));
  return `curl -N ${shell(`${place()}/v1beta/models/${model}:streamGenerateContent?alt=sse`)} \\
  -H 'x-goog-api-key: ${key}' \\
  -H 'content-type: application/json' \\
  -d '${data}'
`;
}

const shell = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
