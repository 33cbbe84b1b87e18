package credentials

import "errors"

// CodeOf returns a word for an error that is the same each time the error comes back: STS's code
// where it has one.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return "Failed"
}
