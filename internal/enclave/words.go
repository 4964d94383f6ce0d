package enclave

// This file holds the words of generated names.

// adjectives come first in a generated name.
var adjectives = []string{
	"agile", "airy", "alpine", "amber", "ample", "ancient", "arctic", "ashen", "autumn", "azure", "balmy",
	"bare", "blooming", "bold", "boreal", "breezy", "bright", "brisk", "calm", "clear", "cloudy", "coastal",
	"cold", "cool", "coral", "crimson", "crisp", "damp", "dappled", "dawning", "deep", "dense", "dewy",
	"drifting", "dry", "dusky", "dusty", "eager", "early", "earthen", "evergreen", "fallow", "fertile",
	"flowing", "foggy", "fresh", "frosty", "gentle", "gilded", "glacial", "glassy", "gleaming", "golden",
	"grassy", "green", "hardy", "hazy", "hidden", "hollow", "humid", "icy", "inland", "ivory", "jade", "jagged",
	"lasting", "leafy", "light", "lively", "lofty", "lone", "lucid", "lunar", "lush", "marbled", "mellow",
	"mild", "misty", "molten", "mossy", "muted", "narrow", "nimble", "northern", "olive", "open", "pale",
	"patient", "pearly", "placid", "plain", "polar", "proud", "quiet", "rainy", "rapid", "restful", "ripe",
	"rising", "rocky", "rosy", "rugged", "rustic", "sandy", "serene", "shaded", "shy", "silent", "silver",
	"sleepy", "smooth", "snowy", "solar", "spare", "spring", "starry", "steady", "still", "stony", "stormy",
	"sturdy", "sunlit", "swift", "tall", "tender", "tidal", "tranquil", "vast", "verdant", "warm", "wild",
	"windy", "winter", "wooded",
}

// nouns come second in a generated name.
var nouns = []string{
	"acorn", "aspen", "atoll", "badger", "bay", "beach", "birch", "bluff", "boulder", "bramble", "brook",
	"canyon", "cape", "cavern", "cedar", "cliff", "clover", "cove", "crag", "creek", "crest", "dale", "delta",
	"desert", "dune", "eagle", "elm", "estuary", "falcon", "fern", "fjord", "forest", "fox", "geyser",
	"glacier", "glade", "gorge", "grove", "gulf", "harbor", "hare", "hawk", "heath", "heron", "hill", "hollow",
	"island", "juniper", "lagoon", "lake", "larch", "lichen", "lynx", "maple", "marsh", "meadow", "mesa",
	"moor", "moss", "mountain", "oak", "ocean", "orchard", "otter", "peak", "pebble", "pine", "plateau", "pond",
	"prairie", "rapids", "raven", "reef", "ridge", "river", "robin", "shore", "spruce", "steppe", "stream",
	"summit", "thicket", "tide", "tundra", "valley", "walnut", "waterfall", "willow", "wren",
}
