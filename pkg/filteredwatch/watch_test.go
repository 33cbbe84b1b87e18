package filteredwatch

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
)

type object = metav1.PartialObjectMetadata

func named(name string) *object {
	return &object{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}}
}

func keep(o *object) bool { return o.Name == "kept" }

// fakeIndex has the names of what it was given.
type fakeIndex struct {
	*Scopes

	names sets.Set[types.NamespacedName]
}

func (x fakeIndex) Put(o *object)                    { x.names.Insert(nameOf(o)) }
func (x fakeIndex) Delete(name types.NamespacedName) { x.names.Delete(name) }
func (x fakeIndex) Names() []types.NamespacedName    { return x.names.UnsortedList() }

func TestWatch_FiltersEvents(t *testing.T) {
	w := &Watch[*object]{source: Source[*object]{Keep: keep}}
	for _, c := range []struct {
		name   string
		event  watch.Event
		want   watch.EventType
		passes bool
	}{
		{"one that is kept is added", watch.Event{Type: watch.Added, Object: named("kept")}, watch.Added, true},
		{"one that is kept changes", watch.Event{Type: watch.Modified, Object: named("kept")}, watch.Modified, true},
		{"one that is kept is deleted", watch.Event{Type: watch.Deleted, Object: named("kept")}, watch.Deleted, true},
		{"another is added", watch.Event{Type: watch.Added, Object: named("other")}, watch.Added, false},
		{"another changes, which may have been kept", watch.Event{Type: watch.Modified, Object: named("other")}, watch.Deleted, true},
		{"another is deleted", watch.Event{Type: watch.Deleted, Object: named("other")}, watch.Deleted, true},
		{"a bookmark", watch.Event{Type: watch.Bookmark, Object: &object{}}, watch.Bookmark, true},
		{"an error", watch.Event{Type: watch.Error, Object: &metav1.Status{}}, watch.Error, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, passes := w.filter(c.event)
			if passes != c.passes || passes && got.Type != c.want {
				t.Errorf("%s, %t", got.Type, passes)
			}
		})
	}
}

func TestKept_IsNotAPartOfThePage(t *testing.T) {
	page := []object{*named("other"), *named("kept"), *named("other")}
	kept := Kept(page, keep)
	page[1].Name = "changed"
	if len(kept) != 1 || cap(kept) != 1 || kept[0].Name != "kept" {
		t.Errorf("%v", kept)
	}
}

func TestReplace_DeletesWhatIsMissingInTheScope(t *testing.T) {
	known := []types.NamespacedName{{Namespace: "n", Name: "a"}, {Namespace: "n", Name: "b"}, {Namespace: "m", Name: "a"}}
	list := []*object{named("b")}
	for scope, want := range map[string][]types.NamespacedName{"": {known[0], known[2]}, "n": {known[0]}, "m": {known[2]}, "x": nil} {
		x := fakeIndex{NewScopes([]string{scope}), sets.New(known...)}
		Replace(x, scope, list)
		if gone := sets.New(known...).Difference(x.names); !gone.Equal(sets.New(want...)) || !x.HasSynced() {
			t.Errorf("scope %q: %v are gone, listed: %t", scope, gone.UnsortedList(), x.HasSynced())
		}
	}
}

func TestScopes_AreInSyncOnceAllHaveBeenListed(t *testing.T) {
	s := NewScopes([]string{"n", "m"})
	for _, step := range []struct {
		scope  string
		synced bool
	}{{"n", false}, {"n", false}, {"x", false}, {"m", true}, {"n", true}} {
		if s.MarkListed(step.scope); s.HasSynced() != step.synced {
			t.Errorf("after %s: %t", step.scope, s.HasSynced())
		}
	}
	<-s.Synced()
}

func TestStore_RejectsOtherObjects(t *testing.T) {
	x := fakeIndex{NewScopes([]string{""}), sets.New[types.NamespacedName]()}
	s := store[*object]{x, ""}
	for what, write := range map[string]func(any) error{
		"add": s.Add, "update": s.Update, "delete": s.Delete, "replace": func(o any) error { return s.Replace([]any{o}, "") },
	} {
		if err := write(named("kept")); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := write(&metav1.Status{}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if err := s.Resync(); err != nil || !x.HasSynced() {
		t.Errorf("%v, %t", err, x.HasSynced())
	}
}
