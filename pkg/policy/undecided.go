package policy

import "errors"

// UndecidedError says that a mode could not decide, which is neither a permission nor a refusal:
// nothing may be issued for it, nothing taken away, and the question is to be asked again. Find
// it with errors.AsType.
type UndecidedError struct {
	// Subject is who asked, and Role the ARN of what was asked for.
	Subject Subject
	Role    string
	// Err says what failed, in the words of the API server or the cache.
	Err error
}

// Error says what is not known, and why.
func (e *UndecidedError) Error() string {
	return "it is not known whether " + e.Subject.String() + " may assume role " + e.Role + ", and it is asked again: " + e.Err.Error()
}

// Unwrap returns what failed.
func (e *UndecidedError) Unwrap() error { return e.Err }

// undecided returns the UndecidedError of a Request for which each of these errors kept a mode
// from deciding.
func undecided(r Request, causes ...error) error {
	for i, cause := range causes {
		if known, ok := errors.AsType[*UndecidedError](cause); ok {
			causes[i] = known.Err
		}
	}
	err := causes[0]
	if len(causes) > 1 {
		err = errors.Join(causes...)
	}
	return &UndecidedError{Subject: r.Subject, Role: r.Role.String(), Err: err}
}
