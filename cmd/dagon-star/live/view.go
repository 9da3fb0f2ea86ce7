package live

// Page is what a person looks at.
type Page int

// The pages.
const (
	Table Page = iota
	Output
	Faults
	Help
)

// View is what a person looks at, which keys change.
type View struct {
	Page   Page
	Node   string // that is chosen; "" for the first
	Back   int    // lines between the last one that is shown of its output and the end
	Ending bool   // they have asked for the end of the run
}

// Key is a key that does something.
type Key int

// The keys.
const (
	None Key = iota
	Up
	Down
	PageUp
	PageDown
	Home
	End
	Enter
	Escape
	ShowFaults
	ShowHelp
	Quit
)

// Act is what a key asks for beside another look.
type Act int

// The acts.
const (
	Nothing   Act = iota
	Interrupt     // as an INT does
)

// chosen is which node is.
func (v *View) chosen(s *State) int {
	for i, n := range s.Nodes {
		if n.Name == v.Node {
			return i
		}
	}
	return 0
}

// Key does what a key does, and returns what that asks for. page is how many lines the
// terminal has, and lines how many of a node's output there are.
func (v *View) Key(k Key, s *State, page, lines int) Act {
	if k == Quit {
		v.Ending = true
		return Interrupt
	}
	page = max(page-2, 1)
	switch v.Page {
	case Table:
		v.tableKey(k, s, page)
	case Output:
		switch k {
		case Up:
			v.Back++
		case Down:
			v.Back--
		case PageUp:
			v.Back += page
		case PageDown:
			v.Back -= page
		case Home:
			v.Back = lines
		case End:
			v.Back = 0
		}
		v.Back = max(min(v.Back, lines-page), 0)
	}
	switch {
	case k == Escape:
		v.Page, v.Back = Table, 0
	case k == ShowFaults:
		v.Page = toggled(v.Page, Faults)
	case k == ShowHelp:
		v.Page = toggled(v.Page, Help)
	}
	return Nothing
}

func toggled(now, page Page) Page {
	if now == page {
		return Table
	}
	return page
}

func (v *View) tableKey(k Key, s *State, page int) {
	if len(s.Nodes) == 0 {
		return
	}
	at := v.chosen(s)
	switch k {
	case Up:
		at--
	case Down:
		at++
	case PageUp:
		at -= page
	case PageDown:
		at += page
	case Home:
		at = 0
	case End:
		at = len(s.Nodes) - 1
	case Enter:
		v.Page, v.Back = Output, 0
	default:
		return
	}
	v.Node = s.Nodes[max(0, min(at, len(s.Nodes)-1))].Name
}
