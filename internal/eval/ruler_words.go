package eval

import "strings"

// The words of the RULER-like tasks. Things are asked for by name, so that no noun is a part of another.

var (
	qualities = strings.Fields(`
able ancient big bold brave bright calm careful cheap clean clever cold common cosy crooked curious damp dusty
early empty faint famous fancy flat foreign fragile fresh gentle giant gloomy grand handsome heavy hidden hollow
humble joyful late lazy little local lonely lost loud lucky modern narrow noisy odd old patient plain polite
proud quick quiet rare ripe rough rusty shiny silent simple slow small smooth strange sturdy tall tidy tiny
usual warm wide wild wise young`)
	looks = strings.Fields(`
amber azure beige black blue bronze brown carved chequered cream crimson dotted ebony faded gilded glazed golden
green grey khaki lime magenta maroon mauve navy ochre painted pale patched pink plaid polished purple red russet
scarlet sepia spotted striped tan teal tinted umber unpainted varicoloured white woven yellow`)
	nouns = strings.Fields(`
anchor apple apricot apron artichoke asparagus atlas avocado axle bagel balcony balloon bamboo banana banjo
banner barley barrel basil basket bathtub battery bayonet beacon beaker beaver bellows bench beret bicycle
biscuit blanket blossom bobbin bonnet bottle boulder bracelet bramble brochure broom bucket buckle bugle
bungalow butter cabbage cabinet cactus calendar camel camera candle canoe canvas caramel caravan cardigan
carousel carrot cashew castle cathedral cauldron cedar celery cellar cello ceramic chalk chandelier chapel
cherry chestnut chimney chisel chocolate cider cinnamon citadel clarinet cloak clover cobbler coconut coffee
collar comet compass concrete copper coral corridor cottage cotton cradle crayon cricket crocus crown crystal
cucumber cupboard curtain cushion cymbal daffodil dagger dahlia daisy dandelion desert diamond dolphin domino
donkey doorbell dragonfly drawer drum dumpling eclipse elbow elder elephant emerald engine envelope estuary
falcon feather fender fennel ferret fiddle fig flannel flask flute fossil fountain foxglove freckle fridge frost
furnace galaxy gallery garlic garnet gazebo geyser ginger giraffe glacier goblet goggles gondola gooseberry
grape gravel griddle guitar gutter hammer hammock handle harbour harmonica harness hatchet hawthorn hazelnut
hedgehog helmet heron hexagon hickory honey horizon hornet hourglass hyacinth iceberg icicle igloo indigo
inkwell island ivory jacket jaguar jasmine jersey jetty jigsaw jonquil juniper kayak kennel kettle keyboard
kimono kiosk kitten knapsack lacquer ladder ladle lagoon lantern larch lasso lattice laurel lavender ledger
lemon lentil leopard lettuce lever library lichen lilac lily lizard lobster locket locomotive lotus magnet
magnolia mahogany mallet mandolin mango mantle maple marigold marmalade marquee marsh mattress meadow melon
mercury meteor microscope minaret mirror mitten molasses monocle moraine mosaic mosquito mountain muffin
mulberry mushroom mussel mustard napkin necklace needle nettle newspaper nickel nightingale notebook nougat
nozzle nutmeg oasis oatmeal obelisk oboe ocelot octagon octopus olive omelette onion opal orange orchard orchid
ostrich oven owl oyster paddle padlock pagoda palette pancake panda pansy pantry papaya paprika parachute
parasol parcel parlour parrot parsley parsnip pavilion peach peacock peanut pearl pebble pedal pelican pencil
penguin pepper periscope petunia pheasant piano pickle pigeon pillow pinwheel pistachio pitcher plank plaster
platter plaza plum pocket polecat pomegranate poncho poplar poppy porcelain porch postcard potato pottery
prairie pretzel prism pudding puddle puffin pulley pumpkin puppet pyramid quail quarry quartz quiche quilt
quince rabbit raccoon radiator radish raft raisin rake raspberry ravine razor reindeer reservoir rhubarb ribbon
river rocket rooster rosemary rubber rudder saddle saffron sailor salamander salmon sandal sapphire sardine
satchel saucer sausage saxophone scabbard scaffold scallop scooter scorpion sculpture seagull sequin shamrock
shawl shelter sheriff shovel shrimp sickle signpost silver skillet sleigh slipper snail sofa sorbet spade
spaniel sparrow spatula spinach spindle sponge spruce squash squirrel stable stadium starfish statue steeple
stirrup stool stork strudel sturgeon submarine sugar sunflower swallow swan sycamore syrup tablet tadpole
tambourine tangerine tapestry tarpaulin tavern teapot telescope tent terrace thermos thicket thimble thistle
thunder tiger tile timber toaster tomato topaz tornado tortoise tower tractor trapeze trellis tricycle trombone
trophy trousers trout trumpet tulip tunnel turbine turnip turquoise turret tweezers typhoon ukulele umbrella
unicorn valley vanilla varnish vase velvet veranda vest viaduct village vinegar viola violet volcano voyage
vulture waffle wagon waistcoat walnut walrus warbler wardrobe warehouse wasp watch weasel wharf wheat whistle
wicker widget wigwam willow windmill wisteria wolf wreath wrench xylophone yacht yarn yoghurt yolk zebra
zeppelin zipper zither`)
	sentences = strings.Split(`The kettle was filled and set on the stove.
A letter had come in the morning, and nobody had opened it yet.
Rain ran down the window of the small office.
They agreed to meet again at the end of the week.
The road to the coast was longer than the map had made it look.
Someone had left a coat on the bench by the door.
The clock in the hall was slow, as it had always been.
In the afternoon the wind turned and the sea grew calm.
She counted the steps to the cellar without meaning to.
The shop on the corner sold thread, paper and lamp oil.
There was bread on the table and soup on the fire.
A dog barked twice somewhere behind the houses.
The train stood at the platform with its doors open.
He folded the newspaper and looked out at the hills.
Nothing much had changed since the last summer.
The children were drawing ships on the pavement.
It took two of them to lift the old table.
The light went on in the upper room and off again.
A path led through the grass down to the water.
The bell rang, and the street was full of people.
Snow still lay on the shaded side of the wall.
The answer could wait until tomorrow.
They spoke of the weather and of the price of wood.
The garden had been dug over before the frost.
One of the chairs was lower than the others.
The boat was tied up where the river is widest.
He had learned the song from a neighbour.
The window faced north, and the room was cool all day.
A cart with two wheels stood in the middle of the yard.
The soup was too hot to eat at once.
On the shelf there was a row of empty jars.
She had seen that hill every day of her life.`, "\n")
)
