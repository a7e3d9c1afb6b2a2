// node llama_cpp.mjs REQUEST RESULT: leads a real llama.cpp along given tokens, and writes its best token and that
// token's probability before each answer token, and how it cuts given texts into tokens.
import fs from "node:fs";
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const [requestPath, resultPath] = process.argv.slice(2);
const request = JSON.parse(fs.readFileSync(requestPath, "utf8"));
const found = createRequire(request.modules + "/x.js").resolve("node-llama-cpp");
const {getLlama} = await import(pathToFileURL(found).href);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: request.model});
const context = await model.createContext({
    contextSize: 512, flashAttention: false, threads: 1,
    ...(request.lora ? {lora: {adapters: [{filePath: request.lora}]}} : {})
});
const sequence = context.getSequence();
const answers = [];
for (const {tokens, start} of request.rows) {
    await sequence.clearHistory();
    const input = tokens.slice(0, -1).map((token, at) =>
        at >= start - 1 ? [token, {generateNext: {probabilities: true, options: {temperature: 1, topK: 0, topP: 1}}}] : token);
    const output = await sequence.controlledEvaluate(input);
    answers.push(output.slice(start - 1).map(({next}) => {
        const [token, probability] = [...next.probabilities.entries()].reduce((a, b) => (b[1] > a[1] ? b : a));
        return [token, probability];
    }));
}
const texts = request.texts.map((text) => [...model.tokenize(text, true)]);
fs.writeFileSync(resultPath, JSON.stringify({answers, texts}));
process.exit(0);
