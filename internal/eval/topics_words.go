package eval

// The words of the topics task. A topic is an aspect of a subject; no subject is part of another's name.

var aspects = []string{
	"the history of",
	"the price of",
	"the care of",
	"the design of",
	"the sound of",
	"the sale of",
	"the naming of",
	"the smell of",
	"the colours of",
	"the storage of",
	"the repair of",
	"the science of",
	"the weight of",
	"the age of",
	"the taxing of",
	"the transport of",
	"the painting of",
	"the cleaning of",
	"the lending of",
	"the safety of",
	"the theft of",
	"the testing of",
	"the habits of",
	"the future of",
}

var subjects = []string{
	"lighthouses",
	"bonsai trees",
	"steam engines",
	"glaciers",
	"violins",
	"beehives",
	"tidal pools",
	"railway stations",
	"tea houses",
	"volcanoes",
	"fountain pens",
	"sailing boats",
	"windmills",
	"chess clocks",
	"migrating storks",
	"stone bridges",
	"wool carpets",
	"night markets",
	"pocket watches",
	"orchards",
	"desert foxes",
	"paper kites",
	"coral reefs",
	"church organs",
	"snow ploughs",
	"city parks",
	"honey cakes",
	"street lamps",
	"rain barrels",
	"silk scarves",
	"ferry ports",
	"mountain huts",
	"oyster farms",
	"circus tents",
	"brick ovens",
	"hot springs",
	"puppet theatres",
	"weather balloons",
	"herb gardens",
	"cobbled lanes",
	"copper kettles",
	"river otters",
	"marble statues",
	"chimney sweeps",
	"pine forests",
	"salt mines",
	"toy trains",
	"garden gnomes",
	"postage stamps",
	"barn owls",
	"canal locks",
	"leather boots",
	"ice rinks",
	"wooden spoons",
	"radio towers",
	"olive groves",
	"hedge mazes",
	"clay pots",
	"rope ladders",
	"library cards",
	"racing bicycles",
	"telescopes",
	"crossword puzzles",
	"bread baskets",
	"mosaic floors",
	"fishing nets",
	"carnival masks",
	"greenhouses",
	"sundials",
	"vineyards",
	"accordions",
	"sea caves",
	"clothes moths",
	"peat bogs",
	"jigsaws",
	"umbrellas",
	"tram tickets",
	"acorns",
	"spice racks",
	"cuckoo clocks",
}

const (
	opening = "Below is the record of a conversation between a reader and a librarian. They talk about several topics, " +
		"one after another.\n\n"
	begins = "Reader: Good morning. I would like to talk about {topic}.\nLibrarian: With pleasure. What would you like " +
		"to know?\n"
	closing = "Reader: Thank you, that was all for today. Which topic did we talk about first? Please give only its " +
		"name.\nLibrarian: The first topic that we talked about was"
)

// changes lead to the next topic.
var changes = []string{
	"Reader: Let us turn to something else. I would like to talk about {topic}.\nLibrarian: Of course. What would you " +
		"like to know?\n",
	"Reader: Thank you. My next topic is {topic}.\nLibrarian: A fine choice. Where shall we begin?\n",
	"Reader: That helps. Now I am curious about {topic}.\nLibrarian: Then let us look at that together.\n",
}

// exchangesEach is how many exchanges a discussion has.
const exchangesEach = 3

var exchanges = []string{
	"Reader: What should a beginner know about {topic}?\nLibrarian: Begin with something small that you can see with " +
		"your own eyes, and write down what surprises you. People who study {topic} say that the first month teaches more " +
		"than the first book.\n",
	"Reader: Is there anything that people often get wrong about it?\nLibrarian: Yes. Many think that it never changes, " +
		"but it looked quite different only a hundred years ago, and the old records are full of arguments.\n",
	"Reader: Who would I ask if I wanted to learn more?\nLibrarian: There is usually a small society in the next town. " +
		"Its members meet once a month, and they are glad of anyone who brings a good question.\n",
	"Reader: How much time does it take?\nLibrarian: An hour a week is plenty. It is better to go slowly and to keep " +
		"going than to do everything in one weekend.\n",
	"Reader: Do you have a favourite story about {topic}?\nLibrarian: A neighbour of mine once spent a whole summer on " +
		"{topic} and came home with three notebooks. She says that the blank pages at the end were the best part.\n",
	"Reader: Would it be a good subject for children?\nLibrarian: Certainly, if you let them touch things and make " +
		"mistakes. Most of them ask better questions than we do.\n",
	"Reader: What has changed most in the last years?\nLibrarian: Mostly the tools. The work that once took two people " +
		"and a ladder is now done by one person before lunch.\n",
	"Reader: Can one make a living from it?\nLibrarian: A few do, but nearly everyone I know has another trade as well " +
		"and thinks of this as the quiet part of the week.\n",
}
