package cli

import (
	"math"
	"strings"

	"longlora/internal/machine"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/train"
)

// Groups of options in help.
const (
	documents = "Documents and rows"
	attention = "Attention"
	positions = "Positions"
	trained   = "What is trained"
	optimizer = "Optimizer"
	steps     = "Steps and order"
	checking  = "Validation"
	saving    = "Checkpoints"
	machinery = "Device and memory"
	all       = "Every command"
)

// Commands that share options.
const (
	trains   = "train extend plan"                    // state a training run
	measures = trains + " bench"                      // and one on random weights
	computes = measures + " eval generate"            // anything with a model
	places   = computes + " merge doctor"             // or at least know of devices
	reads    = trains + " eval prepare"               // documents
	locates  = trains + " merge export eval generate" // where a model's tokens stand
)

// What numbers may be at most, so that nothing that is counted with them overflows.
const (
	mostTokens  = 1 << 30
	mostTimes   = 1 << 20
	mostThreads = 1 << 14
	mostRanks   = 1 << 10
)

// Shapes are the names that --shape takes.
var Shapes = []string{"tiny", "1b", "3b", "llama3.2-1b", "llama3.2-3b", "llama2-7b", "llama2-13b", "llama2-70b",
	"llama3-8b", "llama3-70b", "mistral-7b", "qwen2.5-7b", "qwen3-8b", "phi-3-mini", "phi-4",
	"gemma2-9b"}

// Chips are the names that --chip takes.
var Chips = append([]string{"auto", "cpu"}, machine.Names()...)

// What --weights takes, of those who train and of those who go by what was trained.
const (
	heldUsage = "bf16, fp8 (e4m3, a scale a row) or nf4 (bitsandbytes' 4 bits)"
	heldAlso  = "quantization-bit load-in-4bit load-in-8bit bnb-4bit-quant-type quantization"
)

var heldAs = []string{"auto", "bf16", "fp8", "nf4"}

// templates are the names that --template takes beside files.
var templates = []string{"auto", "llama2", "longalpaca", "llama3", "chatml", "alpaca", "mistral", "phi", "granite",
	"gemma", "olmo"}

const templateUsage = "auto (by the marks in the model's chat template, else alpaca), llama2, longalpaca, llama3, " +
	"chatml, alpaca, mistral, phi, granite, gemma, olmo, or a "

// shapesUsage names the shapes: 1b and 3b are Llama 3.2's.
var shapesUsage = strings.Join(Shapes[:len(Shapes)-1], ", ") + " or " + Shapes[len(Shapes)-1]

const ctxAlso = "context context-length context-size max-length max-seq-length max-seq-len model-max-length seq-len " +
	"seq-length sequence-len sequence-length cutoff-len block-size"

const recipeUsage = "defaults of training: measured (what docs/quality.md shows to be best) or paper (the LongLoRA " +
	"paper's)"

// table declares every option, in the order of help. An option that differs between commands stands once for each way.
var table = []Option{
	// What is worked on.
	{Name: "recipe", Of: trains, Default: "measured", Values: []string{"measured", "paper"}, Usage: recipeUsage},
	{Name: "recipe", Of: "bench", Default: "paper", Values: []string{"measured", "paper"}, Usage: recipeUsage},
	{Name: "shape", Of: "plan", Values: Shapes, Things: true, Not: "model",
		Usage: "instead of --model: " + shapesUsage},
	{Name: "shape", Of: "bench", Values: Shapes, Things: true, Default: "tiny",
		Usage: shapesUsage},
	{Name: "chip", Of: "plan", Kind: Names, Arg: "NAME|SIZE,…", Values: Chips, Open: true, Things: true, Default: "auto",
		Check: chip,
		Usage: "auto (this machine), " + strings.Join(Chips[1:], ", ") + ", or a card's memory as 16GiB; several by comma"},
	{Name: "max-ctx", Of: "plan", Kind: Truth, Usage: "find the longest context that fits"},
	{Name: "model", Of: trains + " merge export", Arg: "DIR|NAME", Resume: train.Elsewhere,
		Usage: "the base: a folder, or a Hugging Face name in the local cache",
		Also:  "base-model model-name model-name-or-path model-path pretrained"},
	{Name: "model", Of: "eval", Kind: Texts, Arg: "DIR|NAME",
		Usage: "a folder, or a Hugging Face name in the local cache; repeat to compare"},
	{Name: "model", Of: "generate", Arg: "DIR|NAME", Usage: "a folder, or a Hugging Face name in the local cache"},
	{Name: "model", Of: "prepare", Arg: "DIR|NAME",
		Usage: "whose tokenizer: a folder with config.json and a tokenizer, or a Hugging Face name in the local cache"},
	{Name: "data", Of: trains, Kind: Texts, Arg: "PATH", Check: named("path"), Resume: train.Elsewhere,
		Usage: "text, JSON, CSV, parquet, Arrow or token files, or a folder; repeat for more, PATH:0.3 for a share",
		Also:  "dataset datasets data-path data-dir train-file train-data input"},
	{Name: "ctx", Of: "plan", Kind: Lengths, Check: within(2, mostTokens, "from 2 to 2^30"),
		Usage: "tokens of a row: the context to extend to, as 32768 or 32k; several by comma for a table", Also: ctxAlso},
	{Name: "ctx", Of: "train extend", Kind: Tokens, Check: within(2, mostTokens, "from 2 to 2^30"),
		Usage: "tokens of a row: the context to extend to, as 32768 or 32k", Also: ctxAlso},
	{Name: "ctx", Of: "bench", Kind: Lengths, Check: within(2, mostTokens, "from 2 to 2^30"),
		Usage: "tokens of a row; several by comma"},
	{Name: "out", Of: trains, Arg: "DIR", Resume: train.Elsewhere,
		Usage: "folder to write the adapter and checkpoints into",
		Also:  "output output-dir output-path save-path"},
	{Name: "adapter", Of: trains, Arg: "DIR", Resume: train.Elsewhere, Usage: "PEFT adapter to go on from",
		Also: "adapter-name-or-path lora-model-dir peft-model lora"},
	{Name: "adapter", Of: "merge", Arg: "DIR", Usage: "PEFT adapter, or the released LongLoRA form"},
	{Name: "adapter", Of: "export", Arg: "DIR",
		Usage: "PEFT adapter, or the released LongLoRA form, to merge on the way"},
	{Name: "adapter", Of: "eval generate", Arg: "DIR", Usage: "PEFT adapter to apply"},
	{Name: "warmup", Of: "bench", Kind: Whole, Default: "2", Check: least(0),
		Usage: "steps before those that are not measured"},

	// What is evaluated.
	{Name: "task", Of: "eval", Kind: Names, Arg: "NAME,…", Values: []string{"ppl", "passkey", "topics", "ruler"},
		Usage: "ppl, passkey, topics, ruler, or several by comma"},
	{Name: "data", Of: "eval", Kind: Texts, Arg: "PATH",
		Usage: "text, JSON, CSV, parquet, Arrow or token files, or a folder, read as one stream"},
	{Name: "ctx", Of: "eval", Kind: Lengths, Check: within(2, mostTokens, "from 2 to 2^30"),
		Usage: "lengths, by comma, as 8k,32k"},
	{Name: "protocol", Of: "eval", Default: "longlora", Values: []string{"longlora", "sliding"},
		Usage: "ppl: longlora (whole windows, the reference's) or sliding (each token once)"},
	{Name: "stride", Of: "eval", Kind: Tokens, Default: "256", Check: least(1), Usage: "ppl: tokens between windows"},
	{Name: "limit", Of: "eval", Kind: Whole, Check: least(0),
		Usage: "ppl: at most so many windows, ruler: trials, evenly spread (0: all)"},
	{Name: "trials", Of: "eval", Kind: Whole, Default: "10", Check: within(1, mostTimes, "from 1 to 2^20"),
		Usage: "passkey: prompts a depth; topics: prompts a length; ruler: prompts a subtask"},
	{Name: "depths", Of: "eval", Kind: Whole, Default: "10", Check: within(1, mostTimes, "from 1 to 2^20"),
		Usage: "passkey: depths"},
	{Name: "passkey-template", Of: "eval", Arg: "FILE", Usage: "passkey: YAML file of its words"},
	{Name: "haystack", Of: "eval", Arg: "FILE",
		Usage: "ruler: text file to hide needles in, which adds the tasks that need one"},
	{Name: "seed", Of: "eval", Kind: Seed, Usage: "passkey, topics, ruler: seed of what is drawn"},
	{Name: "out", Of: "eval", Arg: "DIR",
		Usage: "folder that keeps results as they come; the same command goes on from there"},
	{Name: "report", Of: "eval", Arg: "FILE", Usage: "HTML file that shows the results"},

	// What extend adds to train.
	{Name: "train", Of: "extend", Kind: Truth, Default: "true",
		Usage: "train; false only interpolates the positions"},
	{Name: "eval-limit", Of: "extend", Kind: Whole, Default: "32", Check: least(1),
		Usage: "windows of perplexity a length"},
	{Name: "trials", Of: "extend", Kind: Whole, Default: "3", Check: within(1, mostTimes, "from 1 to 2^20"),
		Usage: "passkeys a depth"},
	{Name: "depths", Of: "extend", Kind: Whole, Default: "10", Check: within(1, mostTimes, "from 1 to 2^20"),
		Usage: "depths at which a passkey stands"},
	{Name: "passkey-template", Of: "extend", Arg: "FILE", Usage: "YAML file of the passkey task's words"},

	// What merge and export make.
	{Name: "out", Of: "merge", Arg: "DIR", Usage: "folder to write the merged checkpoint into"},
	{Name: "out", Of: "export", Arg: "FILE", Usage: "GGUF file to write; one that is there is replaced"},
	{Name: "type", Of: "export", Default: "auto", Values: []string{"auto", "f32", "f16", "bf16", "q8_0"},
		Usage: "type of the written matrices: auto (the base's), f32, f16, bf16 or q8_0 (8 bits); norms are f32",
		Also:  "outtype quantization"},
	{Name: "ctx", Of: "merge export", Kind: Tokens,
		Usage: "context to set the positions for (default what lies beside the adapter)"},
	{Name: "dtype", Of: "merge", Default: "auto", Values: []string{"auto", "fp32", "bf16", "fp16"},
		Usage: "type of the written weights: auto (the base's), fp32, bf16 or fp16"},
	{Name: "scale", Of: "merge export", Kind: Real, Default: "1",
		Check: number("a float32, from -3e38 to 3e38", func(x float64) bool { return math.Abs(x) <= math.MaxFloat32 }),
		Usage: "how much the adapter counts: 1 as it was trained, 0 not at all; any other number between or beyond"},
	{Name: "onto", Of: "merge export", Arg: "DIR|NAME",
		Usage: "merge onto this checkpoint, the 16-bit original of a quantised --model"},
	{Name: "max-shard-size", Of: "merge", Default: "5GiB", Arg: "SIZE", Check: size, Usage: "size of a shard"},

	// What is generated.
	{Name: "prompt", Of: "generate", Prose: true, Not: "prompt-file", Usage: "the prompt"},
	{Name: "prompt-file", Of: "generate", Arg: "FILE", Usage: "file that holds the prompt; - is standard input"},
	{Name: "messages", Of: "generate", Arg: "FILE", Not: "prompt",
		Usage: "JSON lines, a conversation each, to be answered in the template; - is standard input"},
	{Name: "chat", Of: "generate", Kind: Truth,
		Usage: "write the prompt as a user's message in the template; without a prompt, talk: a line a message"},
	{Name: "template", Of: "generate", Default: "auto", Arg: "NAME|FILE", Values: templates, Open: true,
		Usage: "--chat: " + templateUsage + "file"},
	{Name: "system", Of: "generate", Prose: true, Usage: "--chat: a system text before the message"},
	{Name: "max-tokens", Of: "generate", Kind: Tokens, Default: "256",
		Check: within(1, math.MaxInt32, "from 1 to 2^31-1"),
		Usage: "tokens to generate at most", Also: "max-new-tokens"},
	{Name: "temperature", Of: "generate", Kind: Real,
		Check: within(0, 100, "from 0 to 100"), // there all tokens are nearly as probable
		Usage: "0: always the most probable token; higher: more varied"},
	{Name: "top-p", Of: "generate", Kind: Real, Default: "1",
		Check: number("above 0 and at most 1", func(x float64) bool { return x > 0 && x <= 1 }),
		Usage: "draw from the most probable tokens that together have this probability"},
	{Name: "seed", Of: "generate", Kind: Seed, Usage: "seed of what is drawn"},
	{Name: "stop", Of: "generate", Kind: Texts, Prose: true,
		Usage: "text at which to stop, which is left out; repeat for several"},
	{Name: "overlong", Of: "generate", Default: "error", Values: []string{"error", "truncate"},
		Usage: "a prompt longer than the model's length: error, or truncate (its middle goes)"},

	// What is prepared, reported and written.
	{Name: "data", Of: "prepare", Kind: Texts, Arg: "PATH", Check: named("path"),
		Usage: "text, JSON, CSV, parquet or Arrow files, or a folder"},
	{Name: "out", Of: "prepare", Arg: "FILE",
		Usage: "token file to write, F.bin; F.bin.json and F.bin.idx beside it"},
	{Name: "no-special", Of: "prepare", Kind: Truth, Usage: "add no BOS, EOS or other special token"},
	{Name: "stats", Of: "prepare", Kind: Truth,
		Usage: "print how long the documents are, and what contexts of --ctx can use of them"},
	{Name: "ctx", Of: "prepare", Kind: Lengths, Check: least(2),
		Usage: "contexts for --stats, by comma (default 4096,8192,16384,32768)"},
	{Name: "out", Of: "report", Arg: "FILE",
		Usage: "the file to write (default DIR/report.html; of several runs report.html)"},
	{Name: "out", Of: "man", Arg: "DIR", Usage: "folder to write into; it is made where there is none"},

	{Name: "format", Of: reads, Group: documents, Default: "auto",
		Values: []string{"auto", "text", "alpaca", "chat", "tokens"},
		Usage: "auto (by the first document), text, alpaca (instruction, output), chat (messages, prompt and completion, " +
			"…) or tokens"},
	{Name: "template", Of: reads, Group: documents, Default: "auto", Arg: "NAME|FILE", Values: templates, Open: true,
		Check: named("name"),
		Usage: "of alpaca and chat: " + templateUsage + "template file", Also: "prompt-template chat-template"},
	{Name: "system-default", Of: trains + " prepare generate", Group: documents, Kind: Truth,
		Usage: "write the system text, and the header with the date, that the model's own chat template would"},
	{Name: "system-date", Of: trains + " prepare generate", Group: documents, Arg: "DATE", Check: date,
		Usage: "the date of that header, as 2026-11-29 (default today; a run keeps the one it began with)"},
	{Name: "text-field", Of: reads, Group: documents, Default: "text", Arg: "NAME", Check: named("name"), Found: true,
		Usage: "the field of a JSON object or the column of a table that holds the text"},
	{Name: "add-bos", Of: reads + " generate", Group: documents, Default: "auto",
		Values: []string{"auto", "always", "never"},
		Usage:  "BOS in front of each document or prompt: auto (where the tokenizer's files add it), always or never"},
	{Name: "skip-bad", Of: reads, Group: documents, Kind: Truth, Usage: "skip and count malformed documents"},
	{Name: "train-on-prompt", Of: trains + " prepare", Group: documents, Kind: Truth, Found: true,
		Usage: "score prompts too, not only answers", Also: "train-on-inputs"},
	{Name: "pack", Of: trains, Group: documents, Default: "auto", Values: []string{"auto", "concat", "cut", "pad"},
		Usage: "rows: auto, concat (one stream; auto for text), cut (documents apart; auto for examples) or pad (one " +
			"document a row)",
		Also: "sequence-packing sample-packing packing"},
	{Name: "overlong", Of: trains, Group: documents, Default: "drop", Values: []string{"drop", "truncate", "error"},
		Usage: "examples longer than a row: drop, truncate (the prompt's longest text loses its middle) or error"},

	{Name: "attn", Of: measures, Group: attention, Default: "auto", Values: []string{"auto", "s2", "full"},
		Usage: "attention: auto (s2, with the recipe's share of full attention at the end), s2 (shifted sparse) or full",
		Also:  "use-flash-attn attn-implementation"},
	{Name: "attn", Of: "eval", Group: attention, Default: "full", Values: []string{"s2", "full"},
		Usage: "attention: s2 (shifted sparse) or full"},
	{Name: "full-last", Of: measures, Group: attention, Arg: "X",
		Usage: "share of the steps, the last ones, that attend fully: 0.125 for the last eighth (default the recipe's)"},
	{Name: "shift", Of: measures + " eval", Group: attention, Default: "split", Values: []string{"split", "roll"},
		Usage: "s2's shift: split (nothing sees the future) or roll (the paper's pseudo-code)"},
	{Name: "group", Of: measures + " eval", Group: attention, Default: "0.25", Arg: "X", Not: "group-size",
		Resume: train.Elsewhere,
		Usage:  "group size as a fraction of the context", Also: "group-size-ratio"},
	{Name: "group-size", Of: measures + " eval", Group: attention, Kind: Tokens, Resume: train.Elsewhere,
		Check: within(2, s2attn.MostGroup, "from 2 to 2^30"), Usage: "group size in tokens, instead of --group"},
	{Name: "sliding-window", Of: locates, Group: attention, Kind: Window, Default: "keep", Arg: "keep|off|N",
		Values: []string{"keep", "off"}, Open: true,
		Usage: "what becomes of the model's sliding windows: keep, off (full layers, on which S²-Attn then acts), or their " +
			"length in tokens; what lies beside an adapter holds unless this is given",
		Also: "window attention-window use-sliding-window"},

	{Name: "rope", Of: locates, Group: positions, Default: "auto",
		Values: []string{"auto", "none", "linear", "ntk", "dynamic", "yarn", "llama3"},
		Usage:  "positions: auto, none, linear, ntk, dynamic, yarn or llama3",
		Also:   "rope-scaling rope-scaling-type"},
	{Name: "rope-factor", Of: locates, Group: positions, Kind: Real,
		Check: number("from 1 to 2^20", func(x float64) bool { return x >= 1 && x <= rope.MaxFactor }),
		Usage: "scaling factor, counted from the pre-training length", Also: "rope-scaling-factor"},
	{Name: "base-ctx", Of: locates, Group: positions, Kind: Tokens, Check: within(1, mostTokens, "from 1 to 2^30"),
		Usage: "pre-training length, where the config does not say it", Also: "original-max-position-embeddings"},

	{Name: "tune", Of: measures, Group: trained, Default: "lora", Values: []string{"lora", "full"},
		Usage: "lora, or full: every weight",
		Also:  "low-rank-training finetuning-type"},
	{Name: "init", Of: trains, Group: trained, Default: "checkpoint", Values: []string{"checkpoint", "random"},
		Usage: "checkpoint, or random: from config.json alone, with --tune full"},
	{Name: "weights", Of: measures, Group: trained, Default: "auto", Values: heldAs,
		Usage: "how the blocks' frozen linear weights lie in memory: auto (as they are stored, beside any adapter), " +
			heldUsage, Also: heldAlso},
	{Name: "weights", Of: "eval generate", Group: trained, Default: "auto", Values: heldAs,
		Usage: "how the blocks' frozen linear weights lie in memory: auto (as an adapter was trained, else as they are " +
			"stored), " + heldUsage, Also: heldAlso},
	{Name: "products", Of: computes, Group: trained, Default: "auto", Values: []string{"auto", "bf16", "fp8"},
		Usage: "how a GPU multiplies weights held in fp8: auto (in FP8 where it can), bf16 or fp8"},
	{Name: "rank", Of: measures, Group: trained, Kind: Whole, Check: within(1, 1<<16, "from 1 to 65536"),
		Usage: "LoRA rank (default the recipe's)",
		Also:  "lora-r lora-rank r"},
	{Name: "alpha", Of: measures, Group: trained, Kind: Real,
		Check: number("positive, and at most 3e38", func(x float64) bool { return x > 0 && x <= math.MaxFloat32 }),
		Usage: "LoRA alpha; the scale is alpha/rank (default the recipe's)", Also: "lora-alpha"},
	{Name: "dropout", Of: measures, Group: trained, Kind: Real, Default: "0", Check: below,
		Usage: "dropout before LoRA's A", Also: "lora-dropout"},
	{Name: "targets", Of: measures, Group: trained, Kind: Names, Arg: "NAME,…", Open: true,
		Values: []string{"attention", "all-linear", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
			"down_proj"},
		Usage: "linear layers with LoRA: attention, all-linear, or their names (default the recipe's)",
		Also:  "lora-target lora-target-modules target-modules lora-modules"},
	{Name: "rslora", Of: measures, Group: trained, Kind: Truth,
		Usage: "the scale is alpha/√rank instead of alpha/rank"},
	{Name: "train-embed", Of: measures, Group: trained, Kind: Truth, Default: "true",
		Usage: "train the token embedding"},
	{Name: "train-norm", Of: measures, Group: trained, Kind: Truth, Default: "true", Usage: "train the norms"},
	{Name: "train-head", Of: measures, Group: trained, Kind: Truth,
		Usage: "train the output head; where that is the embedding, the embedding"},

	{Name: "lr", Of: measures, Group: optimizer, Kind: Rate, Default: "auto", Check: rated,
		Usage: "learning rate of LoRA's factors, or of every weight: auto (the recipe's, by the model's width, a step's " +
			"tokens and the steps) or a number",
		Also: "learning-rate"},
	{Name: "lr-embed", Of: measures, Group: optimizer, Kind: Rate, Default: "auto", Check: rated,
		Usage: "learning rate of embedding, norms and head: auto (in the recipe's ratio to --lr) or a number",
		Also:  "embedding-learning-rate"},
	{Name: "schedule", Of: trains, Group: optimizer, Values: []string{"constant", "linear", "cosine"},
		Usage: "constant, linear or cosine (default the recipe's)", Also: "lr-scheduler lr-scheduler-type scheduler"},
	{Name: "warmup-steps", Of: trains, Group: optimizer, Kind: Whole, Check: least(0),
		Usage: "steps of linear warm-up (default the recipe's)", Also: "warmup"},
	{Name: "max-grad-norm", Of: measures, Group: optimizer, Kind: Real, Default: "1", Check: finite,
		Usage: "clip the gradient to this norm (0: never)", Also: "gradient-clipping grad-clip clip-grad"},
	{Name: "weight-decay", Of: measures, Group: optimizer, Kind: Real, Default: "0", Check: finite,
		Usage: "weight decay of all but norms"},
	{Name: "beta1", Of: measures, Group: optimizer, Kind: Real, Default: "0.9", Check: below,
		Usage: "AdamW's first decay", Also: "adam-beta1"},
	{Name: "beta2", Of: measures, Group: optimizer, Kind: Real, Default: "0.95", Check: below,
		Usage: "AdamW's second decay", Also: "adam-beta2"},
	{Name: "eps", Of: measures, Group: optimizer, Kind: Real, Default: "1e-8",
		Check: number("a positive float32, from 1e-45 to 3e38", func(x float64) bool {
			return float32(x) > 0 &&
				x <= math.MaxFloat32
		}),
		Usage: "AdamW's epsilon", Also: "adam-epsilon adam-eps"},

	{Name: "steps", Of: trains, Group: steps, Kind: Whole, Check: least(1), Not: "epochs", Resume: train.Length,
		Usage: "optimizer steps",
		Also:  "max-steps iters iterations"},
	{Name: "steps", Of: "bench", Group: steps, Kind: Whole, Default: "3", Check: least(1), Usage: "steps to measure"},
	{Name: "epochs", Of: trains, Group: steps, Kind: Real, Check: positive, Resume: train.Length,
		Usage: "passes over the rows, instead of --steps (default 1)", Also: "num-train-epochs num-epochs"},
	{Name: "batch", Of: measures, Group: steps, Kind: Whole, Default: "1",
		Check: within(1, mostTimes, "from 1 to 2^20"),
		Usage: "rows of a micro-batch", Also: "batch-size micro-batch-size per-device-train-batch-size"},
	{Name: "accum", Of: trains, Group: steps, Kind: Whole, Default: "8",
		Check: within(1, mostTimes, "from 1 to 2^20"),
		Usage: "micro-batches of a step", Also: "gradient-accumulation-steps gradient-accumulation grad-accum"},
	{Name: "shuffle", Of: trains, Group: steps, Kind: Truth, Default: "true",
		Usage: "shuffle the rows of each epoch"},
	{Name: "seed", Of: measures, Group: steps, Kind: Seed, Default: "0",
		Usage: "seed of order, initialisation and dropout",
		Also:  "random-seed random-state"},

	{Name: "eval-data", Of: trains, Group: checking, Kind: Texts, Arg: "PATH", Check: named("path"),
		Not: "eval-fraction", Resume: train.Elsewhere,
		Usage: "validation data", Also: "validation-file val-data"},
	{Name: "eval-fraction", Of: trains, Group: checking, Kind: Real, Check: below,
		Usage: "share of the rows to hold out for validation", Also: "val-size val-set-size"},
	{Name: "eval-every", Of: trains, Group: checking, Kind: Whole, Default: "0", Check: least(0),
		Usage: "steps between validations (0: none)", Also: "eval-steps"},
	{Name: "eval-attn", Of: trains, Group: checking, Kind: Names, Arg: "NAME,…", Values: []string{"s2", "full"},
		Usage: "attention of validation: s2, full or both (default that of training)"},

	{Name: "save-every", Of: trains, Group: saving, Kind: Whole, Default: "100", Check: least(1), Resume: train.Free,
		Usage: "steps between checkpoints", Also: "save-steps"},
	{Name: "keep", Of: trains, Group: saving, Kind: Whole, Default: "2", Check: least(1), Resume: train.Free,
		Usage: "checkpoints to keep",
		Also:  "save-total-limit"},
	{Name: "keep-best", Of: trains, Group: saving, Kind: Truth, Resume: train.Free,
		Usage: "keep what was trained when the validation loss was least, in --out's folder best",
		Also:  "load-best-model-at-end save-best"},
	{Name: "early-stop", Of: trains, Group: saving, Kind: Whole, Default: "0", Check: least(0), Resume: train.Free,
		Usage: "stop after so many validations in a row without a better loss (0: never)",
		Also:  "early-stopping-patience patience"},
	{Name: "notify", Of: "train extend", Group: saving, Arg: "COMMAND", Resume: train.OfCall,
		Usage: "shell command to run at the end, with the result's JSON, or the error's, as its input"},
	{Name: "resume", Of: trains, Group: saving, Default: "auto", Arg: "auto|never|DIR",
		Values: []string{"auto", "never"}, Open: true,
		Resume: train.OfCall, Usage: "auto, never, or a checkpoint's folder", Also: "resume-from-checkpoint"},
	{Name: "replan", Of: trains, Group: saving, Kind: Truth, Resume: train.OfCall,
		Usage: "accept another plan, and other last bits, when resuming"},
	{Name: "dry-run", Of: trains, Group: saving, Kind: Truth, Resume: train.OfCall,
		Usage: "stop before step 1, after showing the first row"},

	{Name: "device", Of: places, Group: machinery, Default: "auto", Arg: "NAME",
		Values: []string{"auto", "cpu", "cuda", "cuda:0"}, Open: true,
		Check: device, Resume: train.Elsewhere, Usage: "auto (a GPU where there is one), cpu, cuda or cuda:N",
		Also: "gpu"},
	{Name: "dtype", Of: computes + " doctor", Group: machinery, Default: "auto",
		Values: []string{"auto", "fp32", "bf16"}, Resume: train.Elsewhere,
		Usage: "auto (fp32 on the CPU, bf16 on a GPU), fp32 or bf16", Also: "precision bf16 fp16 fp32"},
	{Name: "device-mem", Of: places, Group: machinery, Arg: "SIZE", Check: size, Resume: train.OfCall,
		Usage: "device memory to use, as 24GiB (default what is free)", Also: "gpu-memory max-memory"},
	{Name: "host-mem", Of: places, Group: machinery, Arg: "SIZE", Check: size, Resume: train.OfCall,
		Usage: "host memory to use (default 80 % of what is available)"},
	{Name: "tile", Of: measures, Group: machinery, Kind: Tokens, Check: least(0), Resume: train.Planned,
		Usage: "tokens of a tile; with --sequence-ranks, of a process's part of a row that a layer takes at a time (0: " +
			"the planner's choice)"},
	{Name: "keep-activations", Of: measures, Group: machinery, Default: "auto",
		Values: []string{"auto", "all", "attn", "out", "input"},
		Resume: train.Planned,
		Usage:  "what layers keep for the backward pass: auto (the planner's choice), all, attn, out or input"},
	{Name: "move-layers", Of: measures, Group: machinery, Kind: Whole, Default: "-1",
		Check:  number("0 or more, or -1", func(x float64) bool { return x >= -1 }),
		Resume: train.Planned, Usage: "layers whose kept activations wait in host memory (-1: the planner's choice)"},
	{Name: "stream-layers", Of: computes, Group: machinery, Default: "auto", Arg: "auto|N", Values: []string{"auto"},
		Open: true, Check: counted, Resume: train.Planned,
		Usage: "layers whose frozen weights wait in host memory beside a GPU (auto: the planner's choice)"},
	{Name: "shard-weights", Of: measures, Group: machinery, Default: "auto", Values: []string{"auto", "on", "off"},
		Resume: train.Planned,
		Usage: "divide the blocks' frozen weights among the processes of a machine, which fetch each layer from each " +
			"other: on, off or auto (the planner's choice)"},
	{Name: "gpus", Of: measures, Group: machinery, Default: "1", Arg: "N|all", Check: processes, Resume: train.OfCall,
		Usage: "processes of this machine that train together, one a GPU, or all GPUs; with --device cpu so many that " +
			"share the threads, at most 32 or one a core",
		Also: "num-gpus nproc-per-node num-processes"},
	{Name: "sequence-ranks", Of: measures, Group: machinery, Kind: Whole, Default: "1", Check: least(1),
		Resume: train.OfCall,
		Usage:  "processes that divide each row among them: a divisor of their number"},
	{Name: "threads", Group: machinery, Kind: Whole, Default: "0", Check: within(0, mostThreads, "from 0 to 16384"),
		Resume: train.OfCall,
		Usage:  "CPU threads (0: all cores)", Also: "num-threads"},

	{Name: "config", Group: all, Arg: "FILE", Resume: train.OfCall,
		Usage: "YAML file of options (default longlora.yaml where there is one)"},
	{Name: "json", Group: all, Kind: Truth, Resume: train.OfCall,
		Usage: "print one JSON document on stdout when done"},
	{Name: "help", Group: all, Kind: Truth, Resume: train.OfCall, Usage: "help for the command"},
}
