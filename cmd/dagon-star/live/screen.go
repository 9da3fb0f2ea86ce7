package live

import (
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"
)

const (
	// paintEvery is how often a Screen is painted at most, but for keys.
	paintEvery = 200 * time.Millisecond
	// openAfter is how long it waits before it takes the terminal: what is over sooner is
	// nothing to look at.
	openAfter = 300 * time.Millisecond
)

// Show is what a Screen shows. It is called from one goroutine.
type Show interface {
	// Frame is what a terminal of so many columns and rows shows; lines are the last that
	// were printed.
	Frame(lines []string, width, height int) []Line
	// Key does what a key does, on a terminal of so many rows.
	Key(k Key, height int) Act
}

// Options say what a Screen is made of.
type Options struct {
	Show Show
	// Out is where what is printed goes while the Screen is off, and all that was printed
	// meanwhile when it goes off.
	Out io.Writer
	// Outlet is what the terminal is written to by: it may end writes that nobody takes. Nil
	// is the terminal itself.
	Outlet  func(io.Writer) io.Writer
	NoColor bool
	// Interrupt is called where a key asks for what an INT does. It must not wait.
	Interrupt func()
}

// Screen has the terminal, between Open and Close. What is written to it meanwhile is
// shown, and printed when it gives the terminal back: also to a shell, as for ctrl-Z.
type Screen struct {
	o        Options
	painting sync.WaitGroup
	quit     chan struct{}
	open     sync.Once
	closed   sync.Once

	mu    sync.Mutex // guards what follows
	on    bool       // what is printed is kept
	lines lines

	// Of the goroutine that paints.
	screen  tcell.Screen
	painted []Line
	width   int
	height  int
}

// NewScreen makes a Screen that is off.
func NewScreen(o Options) *Screen {
	return &Screen{o: o, quit: make(chan struct{})}
}

// Write prints.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines.add(p)
	if s.on {
		s.lines.keep(p)
		return len(p), nil
	}
	return s.o.Out.Write(p)
}

// Beside returns a writer for what is printed to the same terminal by another way, w, that
// is shown while the Screen is on.
func (s *Screen) Beside(w io.Writer) io.Writer { return beside{s, w} }

type beside struct {
	s *Screen
	w io.Writer
}

func (b beside) Write(p []byte) (int, error) {
	b.s.mu.Lock()
	on := b.s.on
	b.s.mu.Unlock()
	if on {
		return b.s.Write(p)
	}
	return b.w.Write(p)
}

// Open takes the terminal, a moment later. Where it is none that can be painted, the Screen
// stays off.
func (s *Screen) Open() { s.open.Do(func() { s.painting.Go(s.run) }) }

// Close gives the terminal back, and returns when all has been printed.
func (s *Screen) Close() {
	s.open.Do(func() {}) // no more
	s.closed.Do(func() { close(s.quit) })
	s.painting.Wait()
}

// run has the terminal until the Screen is closed.
func (s *Screen) run() {
	wait := time.NewTimer(openAfter)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-s.quit:
		return
	}
	var err error
	if s.screen, err = openTerminal(s.o.Outlet); err != nil {
		return
	}
	defer s.off(s.screen.Fini) // also where it panics
	job := newJob()
	defer job.close()
	events := make(chan tcell.Event)
	s.painting.Go(func() { s.screen.ChannelEvents(events, nil) }) // until the screen is given back
	s.take()
	ticker := time.NewTicker(paintEvery)
	defer ticker.Stop()
	s.paint()
	for {
		select {
		case <-s.quit:
			return
		case e := <-events:
			if !s.event(e, job) {
				return
			}
			s.paint()
		case <-job.continued:
			if s.taken() { // the shell may have changed the terminal
				s.off(func() { s.screen.Suspend() })
			}
			s.back(job)
		case <-ticker.C:
			s.back(job)
			s.paint()
		}
	}
}

// take has what is printed kept from now on.
func (s *Screen) take() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on, s.painted = true, nil
}

func (s *Screen) taken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

// off gives the terminal back, which give does, and prints what was kept.
func (s *Screen) off(give func()) {
	give()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		s.on = false
		s.lines.flush(s.o.Out)
	}
}

// stop stops this process, as ctrl-Z does, and takes the terminal again where that is given
// to it.
func (s *Screen) stop(job *job) {
	s.off(func() { s.screen.Suspend() })
	job.stop()
	s.back(job)
}

// back takes the terminal again, where that is off and this process may.
func (s *Screen) back(job *job) {
	if !s.taken() && job.foreground() && s.screen.Resume() == nil {
		s.take()
	}
}

// event takes an event of the terminal, and reports whether there still is one.
func (s *Screen) event(e tcell.Event, job *job) bool {
	switch e := e.(type) {
	case nil:
		return false
	case *tcell.EventError: // it is gone, and HUP tells who is to know
		return false
	case *tcell.EventResize:
		s.painted = nil
		s.screen.Sync()
	case *tcell.EventKey:
		switch key, ctrl := e.Key(), e.Modifiers()&tcell.ModCtrl != 0; {
		case key == tcell.KeyCtrlC || ctrl && e.Rune() == 'c':
			s.o.Interrupt()
		case key == tcell.KeyCtrlZ || ctrl && e.Rune() == 'z':
			s.stop(job)
		case key == tcell.KeyCtrlL || ctrl && e.Rune() == 'l':
			s.painted = nil
			s.screen.Sync()
		default:
			_, height := s.screen.Size()
			if s.o.Show.Key(keyOf(e), height) == Interrupt {
				s.o.Interrupt()
			}
		}
	}
	return true
}

// keyOf is what a key of the terminal does.
func keyOf(e *tcell.EventKey) Key {
	switch e.Key() {
	case tcell.KeyUp:
		return Up
	case tcell.KeyDown:
		return Down
	case tcell.KeyPgUp:
		return PageUp
	case tcell.KeyPgDn:
		return PageDown
	case tcell.KeyHome:
		return Home
	case tcell.KeyEnd:
		return End
	case tcell.KeyEnter:
		return Enter
	case tcell.KeyEscape:
		return Escape
	case tcell.KeyRune:
		switch e.Rune() {
		case 'k':
			return Up
		case 'j':
			return Down
		case 'g':
			return Home
		case 'G':
			return End
		case 'f':
			return ShowFaults
		case '?':
			return ShowHelp
		case 'q':
			return Quit
		}
	}
	return None
}

// paint paints the lines that have changed.
func (s *Screen) paint() {
	if !s.taken() {
		return
	}
	width, height := s.screen.Size()
	if width != s.width || height != s.height {
		s.width, s.height, s.painted = width, height, nil
	}
	s.mu.Lock()
	last := slices.Clone(s.lines.last[max(0, len(s.lines.last)-height):])
	s.mu.Unlock()
	frame := s.o.Show.Frame(last, width, height)
	changed := false
	for y := range height {
		var line Line
		if y < len(frame) {
			line = frame[y]
		}
		if s.painted != nil && slices.Equal(line, s.painted[y]) {
			continue
		}
		changed = true
		x := 0
		for _, span := range line {
			style := s.style(span.Style)
			for rest := span.Text; rest != "" && x < width; {
				var w int
				rest, w = s.screen.Put(x, y, rest, style)
				x += max(w, 1)
			}
		}
		for ; x < width; x++ {
			s.screen.SetContent(x, y, ' ', nil, tcell.StyleDefault)
		}
	}
	if !changed {
		return
	}
	s.painted = make([]Line, height)
	copy(s.painted, frame)
	s.screen.Show()
}

// style is a style as the terminal has it.
func (s *Screen) style(style Style) tcell.Style {
	of, color := tcell.StyleDefault, tcell.ColorDefault
	switch style {
	case Strong:
		of = of.Bold(true)
	case Faint:
		of = of.Dim(true)
	case Good:
		color = tcell.ColorGreen
	case Bad:
		of, color = of.Bold(true), tcell.ColorRed
	case Warn:
		color = tcell.ColorYellow
	case Chosen:
		of = of.Reverse(true)
	}
	if color != tcell.ColorDefault && !s.o.NoColor {
		of = of.Foreground(color)
	}
	return of
}
