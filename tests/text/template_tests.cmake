sluice_room_test(template_test
  SOURCES jinja_test.cpp chat_template_test.cpp
  ROOMS text)
